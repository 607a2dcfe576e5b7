"""The read cache of this process, built from the settings."""

from functools import cache

from viewcounter.cache.generations import GenerationBoard
from viewcounter.cache.macs import CacheValue, build_authenticator
from viewcounter.cache.memory import Lifetimes
from viewcounter.cache.read_cache import CacheSettings, ReadCache
from viewcounter.cache.shared import SharedCache
from viewcounter.cluster import get_cluster_id
from viewcounter.config import Config, get_config


@cache
def find_read_cache() -> ReadCache | None:
    """One a process; None if it is disabled."""
    config = get_config()
    return build_read_cache(config) if config.result_cache else None


def build_read_cache(config: Config) -> ReadCache:
    return ReadCache(
        CacheSettings(
            lifetimes=Lifetimes(config.cache_fresh_seconds, config.cache_stale_seconds),
            max_bytes=config.cache_max_bytes,
            max_entries=config.cache_max_entries,
            entry_max_bytes=config.cache_entry_max_bytes,
            max_followers=config.cache_max_followers,
            wait_seconds=config.cache_wait_seconds,
        ),
        shared=SharedCache(
            config.cache_url.get_secret_value(),
            get_cluster_id=get_cluster_id,
            authenticator=build_authenticator(CacheValue.ANSWER, config),
            timeout_seconds=config.shared_cache_timeout_seconds,
            open_seconds=config.shared_cache_open_seconds,
            max_connections=config.shared_cache_max_connections,
            keep_seconds=max(config.cache_fresh_seconds, config.cache_stale_seconds),
        ),
        generations=GenerationBoard(
            known_seconds=config.cache_generation_seconds,
            wait_seconds=config.cache_wait_seconds,
            max_followers=config.cache_max_followers,
        ),
    )
