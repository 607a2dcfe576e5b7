"""Rate limits: requests and events a second of each API key over all processes, and of client addresses in this one.

A request costs no call to any server: it takes from this process's token buckets, and a thread synchronises them with
the shared buckets several times a second. So a key may exceed its limit by the requests of one such interval, and by
a factor of the number of processes while the cache server is away: a limit protects, it does not bill.

Limits by address tell clients apart who send the same public key, or none. Clients behind a proxy that is not in
`proxy_addresses` share its address: limits by address are only as good as that setting.
"""

import ipaddress
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any, Protocol

from runtime.http.asgi import Headers
from runtime.http.errors import TryLater
from runtime.http.problems import Problem
from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog
from viewcounter.apikeys.scopes import AuthenticatedKey
from viewcounter.apikeys.shared_buckets import BucketsUnavailable, SharedBuckets, Take
from viewcounter.cluster import get_cluster_id
from viewcounter.config import Config, get_config

logger = logging.getLogger(__name__)

FORGOTTEN_AFTER_SECONDS = 60.0
STOP_SECONDS = 2.0

EVENT_BYTES = 1024
"""Uncompressed bytes of a body that cost at least as much as one event."""

_IPV6_NETWORK_BITS = 64
_ADDRESSES_PARSED = 1024


@dataclass(slots=True)
class TokenBucket:
    """Tokens at `updated_at`, in seconds of the caller's clock. Pure: times are passed in.

    A take is allowed while any token is left and may leave a debt, so that a batch larger than the burst passes now
    and then instead of never; the next take has to wait until the debt is refilled.
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
        """Adopts the tokens of the shared bucket, less those taken here since."""
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
        """Whole seconds until the bucket is full again without further takes."""
        return math.ceil((self.burst - self.tokens) / self.per_second)


def make_bucket(per_second: float, *, burst_seconds: float, now: float) -> TokenBucket:
    """A full bucket, of at least one token."""
    burst = max(1.0, per_second * burst_seconds)
    return TokenBucket(per_second, burst, burst, now)


@dataclass(slots=True)
class BoundedBuckets:
    """Token buckets by name; the least recently used one is evicted first, and is full again if it returns."""

    per_second: float
    burst_seconds: float
    max_buckets: int
    _buckets: OrderedDict[tuple[str, ...], TokenBucket] = field(default_factory=OrderedDict)

    def get(self, name: tuple[str, ...], *, now: float) -> TokenBucket:
        """The bucket, refilled up to `now`."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = make_bucket(self.per_second, burst_seconds=self.burst_seconds, now=now)
            if len(self._buckets) > self.max_buckets:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
            bucket.refill(now)
        return bucket


def build_address_buckets(config: Config) -> BoundedBuckets | None:
    """For requests with public keys; None: client addresses have no limit."""
    per_second = config.public_key.address_requests_per_second
    if not per_second:
        return None
    return BoundedBuckets(per_second, config.rate_limit.burst_seconds, config.rate_limit.addresses_max)


def get_client_address(scope: Mapping[str, Any]) -> str:
    """The address that limits go by. Empty where the server does not name one."""
    client = scope.get("client")
    return shorten_address(str(client[0])) if client else ""


@lru_cache(_ADDRESSES_PARSED)
def shorten_address(address: str) -> str:
    """An IPv6 address as its network, all of which one client has; other text unchanged."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK_BITS), strict=False).network_address)


class Unit(StrEnum):
    REQUESTS = "requests"
    EVENTS = "events"


class Buckets(Protocol):
    """Token buckets shared by all processes."""

    def take(self, takes: list[Take]) -> list[float]: ...


@dataclass(slots=True)
class _Account:
    """`taken`: tokens not yet reported to the shared bucket."""

    bucket: TokenBucket
    used_at: float
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """The rest of a limit after the current request. `wait_seconds` is None if the request is allowed."""

    unit: Unit
    limit: int
    remaining: int
    reset_seconds: int
    wait_seconds: int | None = None

    @property
    def is_allowed(self) -> bool:
        return self.wait_seconds is None

    @property
    def share(self) -> float:
        """Share of the burst that is left."""
        return self.remaining / self.limit

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response, whatever its status."""
        headers = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_seconds),
            "X-RateLimit-Unit": self.unit.value,
        }
        return headers if self.wait_seconds is None else headers | {"Retry-After": str(self.wait_seconds)}


@dataclass(slots=True)
class RateLimiter:
    """One a process, shared by the event loop and Django's threads.

    Invariant: a taken token is either in `taken` or has been reported to the shared bucket.
    """

    shared: Buckets
    burst_seconds: float
    sync_seconds: float
    clock: Callable[[], float] = time.monotonic
    _accounts: dict[tuple[str, Unit], _Account] = field(default_factory=dict)
    # Guards the accounts; never held during a call of the cache server.
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _outage: OutageLog = field(
        default_factory=lambda: OutageLog(
            logger,
            failed="the cache does not answer, each process limits by itself",
            recovered="rate limits are common to all processes again",
        )
    )
    _task: PeriodicTask = field(init=False)

    def __post_init__(self) -> None:
        self._task = PeriodicTask(
            "rate-limits", self.sync, interval_seconds=self.sync_seconds, first_after_seconds=self.sync_seconds
        )

    def take(self, key: AuthenticatedKey, unit: Unit, cost: int) -> Allowance | None:
        """None for a key without such a limit, as most are."""
        per_second = key.requests_per_second if unit is Unit.REQUESTS else key.events_per_second
        if per_second is None:
            return None
        now = self.clock()
        with self._lock:
            account = self._accounts.get((key.prefix, unit))
            if account is None or account.bucket.per_second != per_second:
                bucket = make_bucket(per_second, burst_seconds=self.burst_seconds, now=now)
                account = self._accounts[key.prefix, unit] = _Account(bucket, now)
                self._task.start()
            account.used_at = now
            is_allowed = account.bucket.take(cost, now=now)
            if is_allowed:
                account.taken += cost
            bucket = account.bucket
            return Allowance(
                unit,
                limit=int(bucket.burst),
                remaining=bucket.remaining,
                reset_seconds=bucket.reset_seconds,
                wait_seconds=None if is_allowed else bucket.wait_seconds,
            )

    def sync(self) -> None:
        """Report the takes to the shared buckets and adopt the tokens left there. Never raises."""
        now = self.clock()
        with self._lock:
            for name in [n for n, a in self._accounts.items() if now - a.used_at > FORGOTTEN_AFTER_SECONDS]:
                del self._accounts[name]
            reported = {name: account.taken for name, account in self._accounts.items()}
            takes = [
                Take(f"{prefix}:{unit}", account.bucket.per_second, account.bucket.burst, account.taken)
                for (prefix, unit), account in self._accounts.items()
            ]
        if not takes:
            return
        try:
            left = self.shared.take(takes)
        except BucketsUnavailable as error:
            self._outage.report_failure(error)
            return
        self._outage.report_success()
        with self._lock:
            for (name, taken), tokens in zip(reported.items(), left, strict=True):
                account = self._accounts.get(name)
                if account is not None:
                    account.taken -= taken
                    account.bucket.correct(tokens - account.taken, now=self.clock())

    def close(self) -> None:
        self._task.stop(timeout_seconds=STOP_SECONDS)


@cache
def get_rate_limiter() -> RateLimiter:
    """The limiter of this process, created after the fork by the first request."""
    config = get_config()
    return RateLimiter(
        SharedBuckets(
            config.cache.url.get_secret_value(),
            get_cluster_id=get_cluster_id,
            timeout_seconds=config.rate_limit.timeout_seconds,
        ),
        burst_seconds=config.rate_limit.burst_seconds,
        sync_seconds=config.rate_limit.sync_seconds,
    )


class RequestBudget:
    """What one request takes of the limits of its key and of its client.

    `headers`: rate-limit headers of the limit closest to exhaustion, and CORS headers for the browser of a page.
    """

    def __init__(self, limiter: RateLimiter, addresses: BoundedBuckets | None) -> None:
        self.origin_headers: Headers = ()
        self._limiter = limiter
        self._addresses = addresses
        self._nearest: Allowance | None = None

    def take(self, key: AuthenticatedKey, unit: Unit, cost: int) -> None:
        """Raises TryLater (429). A cost of 0 only checks whether any token is left."""
        allowance = self._limiter.take(key, unit, cost)
        if allowance is None:
            return
        if self._nearest is None or not allowance.is_allowed or allowance.share < self._nearest.share:
            self._nearest = allowance
        if not allowance.is_allowed:
            detail = f"The API key may not send more {unit} now; its limit is a burst of {allowance.limit}."
            raise _rate_limited(detail)

    def charge_refused_body(self, key: AuthenticatedKey, byte_count: int) -> None:
        """Charges a body without events or that could not be read: it was decompressed and decoded all the same."""
        self._limiter.take(key, Unit.EVENTS, count_at_least(byte_count))

    def take_of_address(self, key: AuthenticatedKey, address: str) -> None:
        """Raises TryLater (429). Taken before the key's own limits, so that one client cannot exhaust them."""
        if self._addresses is None:
            return
        bucket = self._addresses.get((key.prefix, address), now=time.monotonic())
        if not bucket.take(1, now=bucket.updated_at):
            self._nearest = Allowance(
                Unit.REQUESTS, int(bucket.burst), bucket.remaining, bucket.reset_seconds, bucket.wait_seconds
            )
            detail = f"This client may not send more requests now; its limit is a burst of {self._nearest.limit}."
            raise _rate_limited(detail)

    @property
    def headers(self) -> Headers:
        if self._nearest is None:
            return self.origin_headers
        limits = ((name.lower().encode(), value.encode()) for name, value in self._nearest.headers.items())
        return (*self.origin_headers, *limits)


def count_at_least(byte_count: int) -> int:
    """Events that a body of this size costs at least."""
    return max(1, byte_count // EVENT_BYTES)


def _rate_limited(detail: str) -> TryLater:
    """The headers of the exhausted limit carry the Retry-After."""
    return TryLater(Problem(status=429, code="rate_limited", detail=detail), adds_retry_after=False)
