"""Log-ins to the admin: after too many failures from an address, or for a name, no password is checked for a while.

Names are limited whether or not such a user exists, with the same message. The limits are counted in the process and,
while it answers, in the cache, which all processes share. Enough failures for a name lock its user out for a minute;
the commands of `manage.py` need no log-in.
"""

import logging
import math
import threading
import time
from functools import cache
from hashlib import blake2b
from typing import Any

from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponseBase

from runtime.metrics import LOG_INS
from viewcounter.apikeys.rate_limit import BoundedBuckets, shorten_address
from viewcounter.apikeys.shared_buckets import BucketsUnavailable, SharedBuckets, Take
from viewcounter.cluster import get_cluster_id
from viewcounter.config import get_config

logger = logging.getLogger(__name__)

MINUTE = 60.0
TOO_MANY_REQUESTS = 429


class LogInLimits:
    """One a process. Thread-safe; a call takes no longer than the cache may."""

    def __init__(self, *, of_address: int, of_name: int, max_buckets: int, shared: SharedBuckets) -> None:
        self._failures = {
            "address": BoundedBuckets(of_address / MINUTE, MINUTE, max_buckets),
            "name": BoundedBuckets(of_name / MINUTE, MINUTE, max_buckets),
        }
        self._shared = shared
        self._lock = threading.Lock()  # guards the buckets; not held while the cache is queried

    def find_wait_seconds(self, address: str, name: str) -> int | None:
        """How long no password is checked; None: the password may be checked now."""
        return self._take(address, name, cost=0)

    def count_failure(self, address: str, name: str) -> None:
        self._take(address, name, cost=1)

    def _take(self, address: str, name: str, *, cost: int) -> int | None:
        takes, waits, now = [], [], time.monotonic()
        with self._lock:
            for kind, value in (("address", address), ("name", _digest(name))):
                bucket = self._failures[kind].get((value,), now=now)
                bucket.take(cost, now=now)
                takes.append(Take(f"log-in:{kind}:{value}", bucket.per_second, bucket.burst, cost))
                if bucket.remaining < 1:
                    waits.append(bucket.wait_seconds)
        for take, tokens in zip(takes, self._take_shared(takes), strict=False):
            if tokens < 1:
                waits.append(math.ceil((1 - tokens) / take.per_second))
        return max(waits, default=None)

    def _take_shared(self, takes: list[Take]) -> list[float]:
        """Tokens left in each bucket; empty while the cache does not answer."""
        try:
            return self._shared.take(takes)
        except BucketsUnavailable:
            return []


class LogInForm(AdminAuthenticationForm):
    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username")
        if name is None or not self.cleaned_data.get("password"):
            return dict(self.cleaned_data)  # the fields show what is missing
        limits, address = get_log_in_limits(), shorten_address(self.request.META.get("REMOTE_ADDR", ""))
        wait_seconds = limits.find_wait_seconds(address, name)
        if wait_seconds is not None:
            LOG_INS.labels("limited").inc()
            self.request.log_in_wait_seconds = wait_seconds
            message = "Too many log-ins failed from here or for this name. Try again in %(seconds)s seconds."
            raise ValidationError(message, code="limited", params={"seconds": wait_seconds})
        try:
            super().clean()
        except ValidationError:
            LOG_INS.labels("failed").inc()
            logger.warning("a log-in to the admin failed, from %s", address)
            limits.count_failure(address, name)
            raise
        LOG_INS.labels("accepted").inc()
        return dict(self.cleaned_data)


def log_in(request: HttpRequest) -> HttpResponseBase:
    """The admin's own view, with a status code for programs."""
    response: HttpResponseBase = admin.site.login(request)
    wait_seconds: int | None = getattr(request, "log_in_wait_seconds", None)
    if wait_seconds is not None:
        response.status_code = TOO_MANY_REQUESTS
        response["Retry-After"] = str(wait_seconds)
    return response


@cache
def get_log_in_limits() -> LogInLimits:
    """The limits of this process."""
    config = get_config()
    shared = SharedBuckets(
        config.cache.url.get_secret_value(),
        get_cluster_id=get_cluster_id,
        timeout_seconds=config.rate_limit.timeout_seconds,
    )
    return LogInLimits(
        of_address=config.log_in.failures_per_minute_of_address,
        of_name=config.log_in.failures_per_minute_of_name,
        max_buckets=config.rate_limit.addresses_max,
        shared=shared,
    )


def _digest(name: str) -> str:
    """Keeps names out of the cache."""
    return blake2b(name.casefold().encode("utf-8", "replace"), digest_size=16).hexdigest()
