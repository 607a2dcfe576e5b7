"""How processes of viewcounter protect what they tell each other through the cache: see decision 0010."""

import logging
from enum import StrEnum
from functools import cache

from configservice.topology.value_macs import ValueAuthenticator
from runtime.metrics import CACHE_VALUES_REFUSED
from viewcounter.config import Config, get_config

logger = logging.getLogger(__name__)


class CacheValue(StrEnum):
    """What a value in the cache is for."""

    WITNESS = "witness"
    """What a shard proxy sees of instances: a primary may be called dead by it."""
    LAG = "lag"
    """How far counting is behind: gateways shed events by it."""
    IDEMPOTENCY = "idempotency"
    """The answer to a request that was sent before."""
    ANSWER = "answer"
    """Rows that a reader was given before."""


def build_authenticator(kind: CacheValue, config: Config | None = None) -> ValueAuthenticator:
    config = config or get_config()
    secret = config.secret_key if config.cache_secret is None else config.cache_secret
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
