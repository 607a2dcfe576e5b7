"""What a worker process keeps between drains: its drainer with the id cache, and the drain marks.

Made on first use, after the fork: connections and threads do not survive one.
"""

import os
from functools import cache

from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.eventlog.registry import get_event_log
from viewcounter.processing.deduplication import IdCache
from viewcounter.processing.drain import Drainer, DrainSettings
from viewcounter.processing.drain_queue import DrainQueue


def get_drain_queue() -> DrainQueue:
    return _get_drain_queue(os.getpid())


def get_drainer() -> Drainer:
    return _get_drainer(os.getpid())


@cache
def _get_drain_queue(_pid: int) -> DrainQueue:
    config = get_config()
    return DrainQueue(
        config.cache_url.get_secret_value(),
        queued_seconds=config.drain_queued_seconds,
        lease_seconds=config.drain_lease_seconds,
        timeout_seconds=config.broker_timeout_seconds,
    )


@cache
def _get_drainer(_pid: int) -> Drainer:
    config = get_config()
    return Drainer(
        cluster=get_cluster(),
        log=get_event_log(),
        ids=IdCache(max_bytes=config.id_cache_max_bytes),
        lease=get_drain_queue(),
        settings=DrainSettings(
            budget_seconds=config.drain_budget_seconds,
            flush_max_events=config.flush_max_events,
            log_read_entries=config.log_read_entries,
        ),
    )
