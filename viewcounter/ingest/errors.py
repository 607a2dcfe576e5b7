"""What the gateway refuses and why; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable
from runtime.http.problems import Problem


class GatewayError(Exception):
    """Base of every error of the gateway."""


class Refused(GatewayError):
    """The request cannot be accepted as a whole; `problem` is the answer. Permanent unless it has `retry`.

    `retry`: the same request may succeed later, so the answer carries Retry-After.
    `headers`: extra header lines of the answer.
    """

    def __init__(self, problem: Problem, *, retry: bool = False, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.retry = retry
        self.headers = headers


class InvalidKey(GatewayError, Permanent):
    """The API key is malformed, unknown, expired or revoked. Permanent; the client is never told which."""


class UnknownKey(GatewayError, Permanent):
    """No living key has this prefix: it never existed, has expired or was revoked. Permanent."""


class KeysUnavailable(GatewayError, Retryable):
    """The control database did not answer and this process does not know the key. Retryable."""


class NoSlot(GatewayError, Retryable):
    """Too many requests of this kind are under way in this process, or one waited too long for its turn. Retryable."""


class BufferFull(GatewayError, Retryable):
    """More events wait for the log than `buffer_max_events`. Retryable: nothing of the request was stored.

    The log is slower than the clients: look at its disk, or run more gateways against more log servers.
    """


class ClientGone(GatewayError, Permanent):
    """The client left before its request was complete. Nothing was stored and nobody is there to be told."""
