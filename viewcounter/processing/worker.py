"""Makes what processes of workers keep: drainers, the host's copy of the catalogue."""

import os
from functools import cache

from runtime.shutdown import is_stopping
from viewcounter.catalogue.local_copy import LocalCopy
from viewcounter.catalogue.refresh import Refresher
from viewcounter.cluster import get_cluster
from viewcounter.config import Config, get_config
from viewcounter.eventlog.registry import get_event_log
from viewcounter.processing.drain import Drainer
from viewcounter.processing.isolation import PoisonIsolator
from viewcounter.processing.known_ids import IdCache


def build_drainer(config: Config, *, id_cache_bytes: int) -> Drainer:
    """For one thread of this process."""
    return Drainer(
        cluster=get_cluster(),
        log=get_event_log(),
        ids=IdCache(max_bytes=id_cache_bytes),
        poison=PoisonIsolator(cluster=get_cluster(), settings=config.isolation, limits=config.drain.dead_letters),
        find_copies=_get_local_catalogue(os.getpid()).find_copies,
        settings=config.drain,
        is_stopping=is_stopping,
    )


@cache
def _get_local_catalogue(_pid: int) -> LocalCopy:
    """The host's copy of the catalogue, and the thread that refreshes it."""
    config = get_config()
    folder = config.state_dir / "catalogue"
    copy = LocalCopy(folder / "catalogue.sqlite3")
    Refresher(
        copy,
        lock_path=folder / "refresh.lock",
        interval_seconds=config.catalogue.interval_seconds,
        batch=config.catalogue.import_max_items,
    ).start()
    return copy
