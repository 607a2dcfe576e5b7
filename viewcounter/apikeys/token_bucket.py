"""Token buckets: so many a second, and a burst of what some seconds would have brought. Pure; times are passed in."""

import math
from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """Tokens at `updated_at`, the caller's clock in seconds.

    A take is allowed while anything is left and may leave a debt, so that a batch larger than the burst passes now
    and then instead of never; the debt is waited for before the next one.
    """

    per_second: float
    burst: float
    tokens: float
    updated_at: float

    def refill(self, now: float) -> None:
        passed = max(0.0, now - self.updated_at)
        self.tokens = min(self.burst, self.tokens + passed * self.per_second)
        self.updated_at = now

    def take(self, cost: int, *, now: float) -> bool:
        self.refill(now)
        if self.tokens < 1:
            return False
        self.tokens -= cost
        return True

    def correct(self, tokens: float, *, now: float) -> None:
        """What a common bucket says; what was taken here meanwhile has been subtracted from it."""
        self.tokens = min(self.burst, tokens)
        self.updated_at = now

    @property
    def remaining(self) -> int:
        return max(0, math.floor(self.tokens))

    @property
    def wait_seconds(self) -> int:
        """Whole seconds until a take may be allowed; at least one."""
        return max(1, math.ceil((1 - self.tokens) / self.per_second))

    @property
    def reset_seconds(self) -> int:
        """Whole seconds until it is full again, if nobody takes."""
        return math.ceil((self.burst - self.tokens) / self.per_second)


def make_bucket(per_second: float, *, burst_seconds: float, now: float) -> TokenBucket:
    """Full."""
    burst = max(1.0, per_second * burst_seconds)
    return TokenBucket(per_second, burst, burst, now)
