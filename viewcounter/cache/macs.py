"""Message authentication codes of the values that processes share through the cache: see decision 0010."""

import logging
from enum import StrEnum
from functools import cache

from configservice.topology.value_macs import ValueAuthenticator
from runtime.metrics import CACHE_VALUES_REFUSED
from viewcounter.config import Config, get_config

logger = logging.getLogger(__name__)


class CacheValue(StrEnum):
    """The purpose of a value in the cache."""

    WITNESS = "witness"
    """Observations of a shard proxy, which failure detection uses."""
    LAG = "lag"
    """Lag of the counting, by which gateways shed events."""
    IDEMPOTENCY = "idempotency"
    """The stored response of a request with an Idempotency-Key."""
    ANSWER = "answer"
    """A cache entry of rows that were read."""


def build_authenticator(kind: CacheValue, config: Config | None = None) -> ValueAuthenticator:
    config = config or get_config()
    secret = config.secret_key if config.cache.secret is None else config.cache.secret
    return ValueAuthenticator(secret.get_secret_value(), kind=kind.value, on_refused=lambda: _count_refused(kind))


def _count_refused(kind: CacheValue) -> None:
    CACHE_VALUES_REFUSED.labels(kind.value).inc()
    _warn_once(kind)


@cache
def _warn_once(kind: CacheValue) -> None:
    logger.warning(
        "a value in the cache (%s) is ignored: it is too old, or no process of this cluster has written it. Is"
        " VIEWCOUNTER_CACHE_SECRET, or VIEWCOUNTER_SECRET_KEY without one, the same everywhere?",
        kind.value,
    )
