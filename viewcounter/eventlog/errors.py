"""What can go wrong with the event log; each docstring is the operator's message."""


class EventLogError(Exception):
    """The event log did not answer in time, refused, or is unreachable. Retryable: events wait at the client."""


class EventLogFull(EventLogError):
    """The log server is out of memory or disk. Nothing was stored; drain the log or give it more room."""


class PositionTrimmed(EventLogError):
    """Entries past the partition's position are gone: the shard is older than the log reaches back.

    Permanent: somebody restored an old shard, the log was trimmed too early, or the log server lost its end.
    The drain stops rather than skip what is missing.
    """
