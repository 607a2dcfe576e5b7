"""Why an HTTP request is not carried out; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable
from runtime.http.problems import Problem


class Refused(Exception):
    """The request is refused as a whole, with `problem` and the extra header lines `headers` as its response.

    Raised as `Rejected` or `TryLater` only.
    """

    def __init__(self, problem: Problem, *, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.headers = headers


class Rejected(Refused, Permanent):
    """The request itself is wrong or not allowed: the same request will be refused again."""


class TryLater(Refused, Retryable):
    """The service cannot take the request now; the same request may succeed later.

    `adds_retry_after`: the endpoint adds a Retry-After header. Otherwise another header already says when to retry.
    """

    def __init__(
        self, problem: Problem, *, headers: tuple[tuple[bytes, bytes], ...] = (), adds_retry_after: bool = True
    ) -> None:
        super().__init__(problem, headers=headers)
        self.adds_retry_after = adds_retry_after


class ClientGone(Exception, Permanent):
    """The client disconnected before its request was complete: nothing was stored, and no response can be sent."""
