"""The circuit breaker and the backoff of one client. Does no I/O; its owner holds the lock."""

import random


class Breaker:
    """Closed until `failures` calls in a row have failed; then open for a while; then one call may try.

    `blocked_until` also carries the backoff: before it nothing is sent, whatever the state.
    """

    def __init__(
        self, *, failures: int, open_seconds: float, first_seconds: float, max_seconds: float, rng: random.Random
    ) -> None:
        self._threshold = failures
        self._open_seconds = open_seconds
        self._first_seconds = first_seconds
        self._max_seconds = max_seconds
        self._rng = rng
        self._failed_in_a_row = 0
        self.blocked_until = 0.0

    @property
    def is_closed(self) -> bool:
        return self._failed_in_a_row < self._threshold

    @property
    def has_failed(self) -> bool:
        """Whether the last call failed."""
        return self._failed_in_a_row > 0

    def try_pass(self, *, now: float) -> bool:
        """Whether a call may be made. Once the open time has passed, one call may try and the others wait for it."""
        if self.is_closed:
            return True
        if now < self.blocked_until:
            return False
        self.blocked_until = now + self._open_seconds
        return True

    def report_success(self) -> None:
        self._failed_in_a_row = 0
        self.blocked_until = 0.0

    def open(self, *, now: float, seconds: float) -> None:
        """Open the breaker for this long; then one call may try."""
        self._failed_in_a_row = max(self._threshold, self._failed_in_a_row + 1)
        self.blocked_until = now + seconds

    def report_failure(self, *, now: float, retry_after_seconds: float | None = None) -> None:
        """Backs off with full jitter, at least for the Retry-After of the service."""
        self._failed_in_a_row += 1
        longest = min(self._max_seconds, self._first_seconds * 2 ** min(self._failed_in_a_row - 1, 30))
        wait = self._rng.uniform(0, longest)
        if not self.is_closed:
            wait = max(wait, self._open_seconds)
        self.blocked_until = now + max(wait, retry_after_seconds or 0.0)
