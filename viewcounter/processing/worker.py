"""Drains in a worker process, and the state that it keeps between them: id cache, local catalogue, drain marks.

The state is created on first use, after the fork: connections and threads do not survive one.
"""

import logging
import os
import time
from functools import cache

from clusterproxy.errors import ClusterProxyError
from runtime.metrics import DRAINS
from runtime.shutdown import is_stopping
from shardproxy.errors import ShardProxyError
from viewcounter.catalogue.local_copy import LocalCopy
from viewcounter.catalogue.refresh import Refresher
from viewcounter.cluster import get_cluster, get_cluster_id
from viewcounter.config import Config, get_config
from viewcounter.eventlog.errors import EventLogError, PositionTrimmed
from viewcounter.eventlog.registry import get_event_log
from viewcounter.processing.drain import Drainer
from viewcounter.processing.drain_queue import DrainQueue
from viewcounter.processing.errors import DrainError, PartitionStopped
from viewcounter.processing.isolation import PoisonIsolator
from viewcounter.processing.known_ids import IdCache
from viewcounter.processing.shard_throttle import Health, classify_drain
from viewcounter.processing.trimming import AppliedEarlier
from viewcounter.storage.errors import StorageError

logger = logging.getLogger(__name__)


def run_drain(partition: int) -> None:
    """Drains the partition, unless another drain of it runs or its shard is throttled.

    A failed drain is logged and counted, and pauses further drains of its shard. Raises ClusterProxyError without a
    topology.
    """
    topology = get_cluster().topology
    shard = topology.get_shard_of(partition)
    queue = get_drain_queue()
    if not queue.start(partition, shard_id=shard.id, siblings=topology.get_partitions_of(shard.id)):
        return
    health = None
    try:
        health = _drain(partition, shard_name=shard.name)
    finally:
        queue.finish(partition, shard_id=shard.id, health=health)


def _drain(partition: int, *, shard_name: str) -> Health | None:
    """How the shard coped, None where the drain cannot tell. Raises unexpected errors only."""
    started_at = time.monotonic()
    try:
        report = get_drainer().drain([partition])
    except PositionTrimmed as error:
        DRAINS.labels("stopped").inc()
        logger.error("partition %d stopped, its shard is older than the log reaches back: %s", partition, error)
    except PartitionStopped as error:
        DRAINS.labels("stopped").inc()
        logger.info("drain ended: %s", error)  # it was logged as an error when it stopped
    except (ClusterProxyError, ShardProxyError) as error:
        DRAINS.labels("waiting").inc()
        logger.warning("partition %d waits, drains of %s pause: %s", partition, shard_name, error)
        return Health.FAILING
    except (EventLogError, DrainError, StorageError) as error:
        DRAINS.labels("waiting").inc()
        logger.warning("partition %d waits: %s", partition, error)
    else:
        DRAINS.labels("caught_up" if report.caught_up else "out_of_time").inc()
        logger.info("drained %s", report)
        return classify_drain(
            seconds=time.monotonic() - started_at,
            flush_count=report.flush_count,
            policy=get_config().drain.throttle,
        )
    return None


def get_drain_queue() -> DrainQueue:
    return _get_drain_queue(os.getpid())


def get_drainer() -> Drainer:
    return _get_drainer(os.getpid())


def get_applied_earlier() -> AppliedEarlier:
    return _get_applied_earlier(os.getpid())


@cache
def _get_applied_earlier(_pid: int) -> AppliedEarlier:
    return AppliedEarlier(safety_seconds=get_config().trim.safety_seconds)


@cache
def _get_drain_queue(_pid: int) -> DrainQueue:
    config = get_config()
    return DrainQueue(
        config.cache.url.get_secret_value(),
        get_cluster_id=get_cluster_id,
        queued_seconds=config.drain.queued_seconds,
        lease_seconds=config.drain.lease_seconds,
        timeout_seconds=config.broker.timeout_seconds,
        strain=config.drain.throttle,
    )


@cache
def _get_drainer(_pid: int) -> Drainer:
    config = get_config()
    return Drainer(
        cluster=get_cluster(),
        log=get_event_log(),
        ids=IdCache(max_bytes=config.drain.id_cache_max_bytes),
        poison=PoisonIsolator(cluster=get_cluster(), settings=config.isolation, limits=config.drain.dead_letters),
        find_copies=_start_local_catalogue(config).find_copies,
        settings=config.drain,
        is_stopping=is_stopping,
    )


def _start_local_catalogue(config: Config) -> LocalCopy:
    """The host's copy of the catalogue, and the thread that refreshes it."""
    folder = config.state_dir / "catalogue"
    copy = LocalCopy(folder / "catalogue.sqlite3")
    Refresher(
        copy,
        lock_path=folder / "refresh.lock",
        interval_seconds=config.catalogue.interval_seconds,
        batch=config.catalogue.import_max_items,
    ).start()
    return copy
