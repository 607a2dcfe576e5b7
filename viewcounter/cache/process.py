"""The read cache of this process, built from the settings."""

from functools import cache

from viewcounter.cache.generations import GenerationBoard
from viewcounter.cache.macs import CacheValue, build_authenticator
from viewcounter.cache.read_cache import ReadCache
from viewcounter.cache.shared import SharedCache
from viewcounter.cluster import get_cluster_id
from viewcounter.config import Config, get_config


@cache
def find_read_cache() -> ReadCache | None:
    """One a process; None if it is disabled."""
    config = get_config()
    return build_read_cache(config) if config.read_cache.enabled else None


def build_read_cache(config: Config) -> ReadCache:
    return ReadCache(
        config.read_cache,
        shared=SharedCache(
            config.cache.url.get_secret_value(),
            get_cluster_id=get_cluster_id,
            authenticator=build_authenticator(CacheValue.ANSWER, config),
            timeout_seconds=config.cache.timeout_seconds,
            open_seconds=config.cache.open_seconds,
            max_connections=config.cache.max_connections,
            keep_seconds=max(config.read_cache.fresh_seconds, config.read_cache.stale_seconds),
        ),
        generations=GenerationBoard(
            known_seconds=config.read_cache.generation_seconds,
            wait_seconds=config.read_cache.wait_seconds,
            max_followers=config.read_cache.max_followers,
        ),
    )
