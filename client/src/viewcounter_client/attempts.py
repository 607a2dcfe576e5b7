"""The attempts of one query: whether and when to retry it. Pure but for the breaker: the clients wait and lock."""

import httpx2

from viewcounter_client import wire
from viewcounter_client.breaker import Breaker
from viewcounter_client.errors import ServiceUnavailable
from viewcounter_client.options import Options


class QueryAttempts:
    """Call `check` before each request and `classify` after it, both under the lock of the breaker's owner."""

    def __init__(self, breaker: Breaker, options: Options) -> None:
        self._breaker = breaker
        self._attempts_left = options.query_attempts
        self._pause_max_seconds = options.backoff_max_seconds
        self._reason = "the circuit breaker is open"
        self.pause_seconds = 0.0
        """Pause between the last failed request and the next one."""

    def check(self, *, now: float) -> None:
        """Raises ServiceUnavailable while the breaker is open."""
        if not self._breaker.try_pass(now=now):
            raise ServiceUnavailable(self._reason)
        self._attempts_left -= 1

    def classify(self, outcome: httpx2.Response | httpx2.HTTPError, *, now: float) -> httpx2.Response | None:
        """The response if it is final, successful or not; None: retry after `pause_seconds`.

        Raises ServiceUnavailable when that was the last attempt.
        """
        if isinstance(outcome, httpx2.HTTPError):
            self._reason = f"{type(outcome).__name__}: {outcome}"
        elif wire.is_worth_retrying(outcome):
            self._reason = f"status {outcome.status_code}"
        else:
            self._breaker.report_success()
            return outcome
        self._breaker.report_failure(now=now)
        if not self._attempts_left:
            raise ServiceUnavailable(self._reason)
        self.pause_seconds = min(self._breaker.blocked_until - now, self._pause_max_seconds)
        return None
