"""What one request to the lane takes of its key's limits, and of its client's, and what the answer says of them."""

import time

from runtime.http.problems import Problem
from viewcounter.apikeys.address_limit import BoundedBuckets
from viewcounter.apikeys.key_cache import AuthenticatedKey
from viewcounter.apikeys.rate_limit import Allowance, RateLimiter, Unit
from viewcounter.ingest.errors import Refused

Headers = tuple[tuple[bytes, bytes], ...]

EVENT_BYTES = 1024
"""Of a body, unpacked, that cost at least as much as one event."""


class RequestBudget:
    """`headers` tell of the limit that is nearer to its end, and a page's browser that it may look at the answer."""

    def __init__(self, limiter: RateLimiter, addresses: BoundedBuckets | None) -> None:
        self.origin_headers: Headers = ()
        self._limiter = limiter
        self._addresses = addresses
        self._nearest: Allowance | None = None

    def take(self, key: AuthenticatedKey, unit: Unit, cost: int) -> None:
        """Raises Refused (429). A cost of 0 asks whether anything is left."""
        allowance = self._limiter.take(key, unit, cost)
        if allowance is None:
            return
        if self._nearest is None or not allowance.is_allowed or allowance.share < self._nearest.share:
            self._nearest = allowance
        if not allowance.is_allowed:
            detail = f"The API key may not send more {unit} now; its limit is a burst of {allowance.limit}."
            raise Refused(Problem(status=429, code="rate_limited", detail=detail))

    def charge_refused_body(self, key: AuthenticatedKey, byte_count: int) -> None:
        """Of a body that held no event or could not be read: it has been unpacked and decoded all the same."""
        self._limiter.take(key, Unit.EVENTS, count_at_least(byte_count))

    def take_of_address(self, key: AuthenticatedKey, address: str) -> None:
        """Raises Refused (429). Comes before the key's own limits, so that one client cannot use them up."""
        if self._addresses is None:
            return
        bucket = self._addresses.get((key.prefix, address), now=time.monotonic())
        if not bucket.take(1, now=bucket.updated_at):
            self._nearest = Allowance(
                Unit.REQUESTS, int(bucket.burst), bucket.remaining, bucket.reset_seconds, bucket.wait_seconds
            )
            detail = f"This client may not send more requests now; its limit is a burst of {self._nearest.limit}."
            raise Refused(Problem(status=429, code="rate_limited", detail=detail))

    @property
    def headers(self) -> Headers:
        if self._nearest is None:
            return self.origin_headers
        limits = ((name.lower().encode(), value.encode()) for name, value in self._nearest.headers.items())
        return (*self.origin_headers, *limits)


def count_at_least(byte_count: int) -> int:
    """As how many events a body counts, whatever is in it."""
    return max(1, byte_count // EVENT_BYTES)
