"""What can go wrong on the way into the event log; each docstring is the operator's message."""

from runtime.errors import Retryable


class BufferFull(Exception, Retryable):
    """More events wait for the log than `commit.buffer_max_events`. Nothing of the request was stored.

    The log is slower than the clients: look at its disk, or run more gateways against more log servers.
    """
