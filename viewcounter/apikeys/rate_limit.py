"""How much each API key may do: requests and events a second, over all processes.

A request costs no call to any server: it takes from this process's buckets, and a thread evens them out with the
common ones several times a second. So a key may overrun its limit by what it gets through in one such interval, and by
the number of processes while the cache server is away: a limit protects, it does not bill.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Protocol

from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog
from viewcounter.apikeys.key_cache import AuthenticatedKey
from viewcounter.apikeys.shared_buckets import BucketsUnavailable, SharedBuckets, Take
from viewcounter.apikeys.token_bucket import TokenBucket, make_bucket
from viewcounter.cluster import get_cluster_id
from viewcounter.config import get_config

logger = logging.getLogger(__name__)

FORGOTTEN_AFTER_SECONDS = 60.0
STOP_SECONDS = 2.0


class Unit(StrEnum):
    REQUESTS = "requests"
    EVENTS = "events"


class Buckets(Protocol):
    """Where processes meet."""

    def take(self, takes: list[Take]) -> list[float]: ...


@dataclass(slots=True)
class _Account:
    """`taken`: since the common bucket was last told."""

    bucket: TokenBucket
    used_at: float
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a key may still do, after the request at hand. `wait_seconds` is None if the request is allowed."""

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
        """Of the burst that is left."""
        return self.remaining / self.limit

    @property
    def headers(self) -> dict[str, str]:
        """For the answer, whatever it is."""
        headers = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_seconds),
            "X-RateLimit-Unit": self.unit.value,
        }
        return headers if self.wait_seconds is None else headers | {"Retry-After": str(self.wait_seconds)}


@dataclass(slots=True)
class RateLimiter:
    """One a process, shared by the lane's event loop and Django's threads.

    Invariant: what a request took is either in `taken`, or the common bucket has been told of it.
    """

    shared: Buckets
    burst_seconds: float
    sync_seconds: float
    _accounts: dict[tuple[str, Unit], _Account] = field(default_factory=dict)
    # Guards the accounts; never held while the cache server is asked.
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
        """None for a key without such a limit: most have none, and pay nothing."""
        per_second = key.requests_per_second if unit is Unit.REQUESTS else key.events_per_second
        if per_second is None:
            return None
        now = time.monotonic()
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
        """Tell the common buckets what was taken here and learn what is left. Never raises."""
        now = time.monotonic()
        with self._lock:
            for name in [n for n, a in self._accounts.items() if now - a.used_at > FORGOTTEN_AFTER_SECONDS]:
                del self._accounts[name]
            told = {name: account.taken for name, account in self._accounts.items()}
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
            for (name, taken), tokens in zip(told.items(), left, strict=True):
                account = self._accounts.get(name)
                if account is not None:
                    account.taken -= taken
                    account.bucket.correct(tokens - account.taken, now=time.monotonic())

    def close(self) -> None:
        self._task.stop(timeout_seconds=STOP_SECONDS)


@cache
def get_rate_limiter() -> RateLimiter:
    """The one of this process; made after the fork, at the first request."""
    config = get_config()
    return RateLimiter(
        SharedBuckets(
            config.cache_url.get_secret_value(),
            get_cluster_id=get_cluster_id,
            timeout_seconds=config.rate_limit_timeout_seconds,
        ),
        burst_seconds=config.rate_limit_burst_seconds,
        sync_seconds=config.rate_limit_sync_seconds,
    )
