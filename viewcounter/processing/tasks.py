"""Celery tasks. Each is one domain call, finite, and may be lost, doubled or late. When beat sends them: `schedule`."""

import logging
import random
import time
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from celery import shared_task
from django.db import DatabaseError

from clusterproxy.errors import ClusterProxyError
from runtime.metrics import DRAINS, LOG_ENTRIES_TRIMMED, TASK_FAILURES
from shardproxy.errors import ShardProxyError
from viewcounter.catalogue.sync import sync_catalogue as run_sync_catalogue
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.deadletters.stopped import measure_dead_letters
from viewcounter.eventlog.errors import EventLogError, LogUnfit, PositionTrimmed
from viewcounter.eventlog.lag_notice import LagUnknown
from viewcounter.eventlog.registry import get_event_log, get_lag_board
from viewcounter.health.cluster_health import probe_cluster, publish_durability, publish_signature
from viewcounter.health.registration import find_services, publish_services
from viewcounter.maintenance.audit_runs import run_audit
from viewcounter.maintenance.lag import publish_lag, read_lag
from viewcounter.maintenance.recount_jobs import list_runnable, requeue_lost
from viewcounter.maintenance.recount_jobs import run_recount as go_on_with_recount
from viewcounter.maintenance.retention import drop_old_raw_days, retain_partition
from viewcounter.maintenance.retention_policy import RetentionPolicy
from viewcounter.maintenance.rollup import RollupSettings, find_partitions_to_roll, roll_partition
from viewcounter.maintenance.shard_care import ensure_raw_days_everywhere
from viewcounter.maintenance.sketching import SketchSettings, find_partitions_to_sketch, sketch_partition
from viewcounter.processing.dispatch import (
    accept_arrivals,
    group_by_shard,
    publish_watermarks,
    read_backlog,
    repair_log,
)
from viewcounter.processing.errors import DrainError, PartitionStopped
from viewcounter.processing.log_watch import record_lost_ends, report_unfit_log, watch_log
from viewcounter.processing.shard_throttle import Health, StrainPolicy, classify_drain
from viewcounter.processing.trimming import trim_log_everywhere
from viewcounter.processing.worker import get_applied_earlier, get_drain_queue, get_drainer
from viewcounter.storage.errors import PartitionBeingMoved, StorageError

logger = logging.getLogger(__name__)

CATALOGUE_BATCH = 1000
CATALOGUE_MAX_ROUNDS = 20
"""A large import takes several calls of the task rather than one that runs into its time limit."""

_UNAVAILABLE = (EventLogError, ClusterProxyError, ShardProxyError)
"""A dependency is down: the events wait in the log, beat asks again, the breakers keep each attempt short."""


def _count_failure(task: str, effect: str, error: Exception) -> None:
    TASK_FAILURES.labels(task).inc()
    logger.warning("%s: %s", effect, error)


@shared_task(name="dispatch_drains")
def dispatch_drains() -> None:
    """Queue a drain for each partition that has unread entries and none queued or running."""
    try:
        backlog = read_backlog(get_cluster(), get_event_log())
        record_lost_ends(get_cluster().topology, repair_log(get_event_log(), backlog.lost))
        accept_arrivals(get_cluster(), backlog.arrived)
    except LogUnfit as error:
        TASK_FAILURES.labels("dispatch_drains").inc()
        report_unfit_log(error)
        return
    except _UNAVAILABLE as error:
        _count_failure("dispatch_drains", "cannot see which partitions have unread entries", error)
        return
    for partition in get_drain_queue().claim(group_by_shard(get_cluster().topology, backlog.unread)):
        drain.delay(partition)


@shared_task(name="drain")
def drain(partition: int) -> None:
    """Apply the log to one partition; see processing.drain."""
    try:
        topology = get_cluster().topology
    except ClusterProxyError as error:
        _count_failure("drain", f"partition {partition} waits", error)
        return
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
    """How it found the shard, None where it cannot say. Raises only what is a fault of ours."""
    started_at = time.monotonic()
    try:
        report = get_drainer().drain(partition)
    except PositionTrimmed as error:
        DRAINS.labels("stopped").inc()
        logger.error("partition %d stopped, its shard is older than the log reaches back: %s", partition, error)
    except PartitionStopped as error:
        DRAINS.labels("stopped").inc()
        logger.info("drain ended: %s", error)  # whoever stopped it has said so as an error
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
            policy=StrainPolicy.from_config(get_config()),
        )
    return None


@shared_task(name="advance_idle_watermarks")
def advance_idle_watermarks() -> None:
    """Let answers about idle partitions say that they are complete."""
    cluster = get_cluster()
    try:
        publish_watermarks(cluster, read_backlog(cluster, get_event_log()))
    except _UNAVAILABLE as error:
        _count_failure("advance_idle_watermarks", "watermarks of idle partitions stand still", error)


@shared_task(name="measure_lag")
def measure_lag() -> None:
    """Let the metrics say how far each partition is behind, and the gateways how far all of them are."""
    try:
        watch_log(get_event_log())
        lag = read_lag(get_cluster(), get_event_log())
        publish_lag(lag)
        get_lag_board().write(lag.notice)
    except (*_UNAVAILABLE, LagUnknown) as error:
        _count_failure("measure_lag", "lag is not measured or not told to gateways", error)


@shared_task(name="measure_cluster")
def measure_cluster() -> None:
    """Let the metrics say which processes there are, and where fewer replicas hold a commit than should."""
    config = get_config()
    try:
        _, shards = probe_cluster(
            get_cluster(),
            timeout_seconds=config.readiness_probe_seconds,
            max_lag_seconds=config.replica_max_lag_seconds,
        )
    except _UNAVAILABLE as error:
        _count_failure("measure_cluster", "the standing of the cluster is not measured", error)
        return
    publish_durability(shards)
    publish_signature()
    publish_services(find_services())


@shared_task(name="count_dead_letters")
def count_dead_letters() -> None:
    """Let the metrics say how many dead letters wait, and which partitions have stopped."""
    try:
        measure_dead_letters(get_cluster())
    except _UNAVAILABLE as error:
        _count_failure("count_dead_letters", "dead letters and stopped partitions are not counted", error)


@shared_task(name="trim_log")
def trim_log() -> None:
    """Forget entries that every promotable copy of their shard has applied."""
    try:
        trimmed = trim_log_everywhere(
            get_cluster(), get_event_log(), now=datetime.now(UTC), earlier=get_applied_earlier()
        )
    except _UNAVAILABLE as error:
        _count_failure("trim_log", "the log is not trimmed", error)
    else:
        LOG_ENTRIES_TRIMMED.inc(trimmed)
        logger.info("trimmed %d log entries", trimmed)


@shared_task(name="ensure_raw_days")
def ensure_raw_days() -> None:
    """Make the coming days' partitions of raw_event on every shard."""
    try:
        ensure_raw_days_everywhere(get_cluster(), today=datetime.now(UTC).date())
    except _UNAVAILABLE as error:
        _count_failure("ensure_raw_days", "day partitions of raw events not made", error)


@shared_task(name="sync_catalogue")
def sync_catalogue() -> None:
    """Copy changed videos and channels to the shards."""
    try:
        for _ in range(CATALOGUE_MAX_ROUNDS):
            if not run_sync_catalogue(get_cluster(), batch=CATALOGUE_BATCH):
                break
    except (*_UNAVAILABLE, DatabaseError) as error:
        _count_failure("sync_catalogue", "titles on the shards are behind the catalogue", error)


@shared_task(name="dispatch_rollups")
def dispatch_rollups() -> None:
    """Queue a rollup for each partition with an hour to close or with dirty buckets."""
    config = get_config()
    try:
        partitions = find_partitions_to_roll(get_cluster(), grace_seconds=config.rollup_grace_seconds)
    except _UNAVAILABLE as error:
        _count_failure("dispatch_rollups", "cannot see what is to be rolled up", error)
        return
    for partition in partitions:
        rollup.apply_async((partition,), expires=config.rollup_interval_seconds)


@shared_task(name="rollup")
def rollup(partition: int) -> None:
    """Replace hours and days of one partition; see processing.rollup."""
    settings = RollupSettings.from_config(get_config())
    try:
        report = roll_partition(get_cluster(), partition, settings=settings)
    except PartitionBeingMoved as error:
        logger.info("not rolled up for now: %s", error)
    except (*_UNAVAILABLE, DrainError, StorageError) as error:
        _count_failure("rollup", f"partition {partition} is not rolled up", error)
    else:
        logger.info("rolled up %s", report)


@shared_task(name="dispatch_sketches")
def dispatch_sketches() -> None:
    """Queue the making of sketches, by few tasks: an hour of events takes so long that drains would wait for a worker.

    In random order, so that no partition waits for one that always fails.
    """
    config = get_config()
    try:
        partitions = find_partitions_to_sketch(get_cluster())
    except _UNAVAILABLE as error:
        _count_failure("dispatch_sketches", "cannot see which sketches are due", error)
        return
    random.shuffle(partitions)
    for first in range(min(len(partitions), config.sketch_tasks_max)):
        sketch.apply_async((partitions[first :: config.sketch_tasks_max],), expires=config.sketch_interval_seconds)


@shared_task(name="sketch")
def sketch(partitions: list[int]) -> None:
    """Make sketches of viewers and values, for as many of the partitions as there is time; see processing.sketching."""
    settings = SketchSettings.from_config(get_config())
    ends_at = time.monotonic() + settings.budget_seconds
    for partition in partitions:
        left_seconds = ends_at - time.monotonic()
        if left_seconds <= 0:
            return
        try:
            report = sketch_partition(get_cluster(), partition, settings=replace(settings, budget_seconds=left_seconds))
        except PartitionBeingMoved as error:
            logger.info("sketches wait: %s", error)
        except (*_UNAVAILABLE, DrainError, StorageError) as error:
            _count_failure("sketch", f"sketches of partition {partition} wait", error)
        else:
            logger.info("sketched %s", report)


@shared_task(name="dispatch_retention")
def dispatch_retention() -> None:
    """Drop old days of raw events, and queue retention for each partition."""
    config = get_config()
    try:
        for partition in range(get_cluster().topology.partition_count):
            retain.apply_async((partition,), expires=config.retention_interval_seconds)
        drop_old_raw_days(get_cluster(), policy=RetentionPolicy.from_config(config))
    except _UNAVAILABLE as error:
        _count_failure("dispatch_retention", "nothing is removed for its age", error)


@shared_task(name="retain")
def retain(partition: int) -> None:
    """Remove minutes, hours and ids of one partition that are too old; see processing.retention."""
    try:
        report = retain_partition(get_cluster(), partition, policy=RetentionPolicy.from_config(get_config()))
    except PartitionBeingMoved as error:
        logger.info("keeps what is too old for now: %s", error)
    except (*_UNAVAILABLE, DrainError, StorageError) as error:
        _count_failure("retain", f"partition {partition} keeps what is too old", error)
    else:
        logger.info("retention %s", report)


@shared_task(name="audit")
def audit() -> None:
    """Queue the audit of every partition."""
    try:
        partition_count = get_cluster().topology.partition_count
    except _UNAVAILABLE as error:
        _count_failure("audit", "nothing is audited", error)
        return
    for partition in range(partition_count):
        audit_partition.apply_async((partition,), expires=get_config().audit_interval_seconds)


@shared_task(name="audit_partition")
def audit_partition(partition: int) -> None:
    """Compare what was counted of one partition with its raw events; see processing.audit."""
    try:
        run_audit(get_cluster(), partition, config=get_config(), now=datetime.now(UTC))
    except (*_UNAVAILABLE, DatabaseError) as error:
        _count_failure("audit_partition", f"partition {partition} is not audited", error)


@shared_task(name="resume_recounts")
def resume_recounts() -> None:
    """Queue every recount that is not done and that no worker is at, and those that a change of primary has undone."""
    now = datetime.now(UTC)
    try:
        requeue_lost(get_cluster(), now=now)
    except (*_UNAVAILABLE, DatabaseError) as error:
        _count_failure("resume_recounts", "recounts that are done are not compared with their shards", error)
    try:
        runnable = list_runnable(now=now)
    except DatabaseError as error:
        _count_failure("resume_recounts", "recounts wait", error)
        return
    for job_id in runnable:
        run_recount.apply_async((str(job_id),), expires=get_config().recount_lease_seconds)


@shared_task(name="run_recount")
def run_recount(job_id: str) -> None:
    """Go on with one recount for a while; see processing.recount_jobs."""
    config = get_config()
    try:
        go_on_with_recount(get_cluster(), UUID(job_id), config=config, budget_seconds=config.recount_budget_seconds)
    except PartitionBeingMoved as error:
        logger.info("recount %s waits: %s", job_id, error)
    except (*_UNAVAILABLE, DatabaseError) as error:
        _count_failure("run_recount", f"recount {job_id} waits", error)
