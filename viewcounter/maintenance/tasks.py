"""Celery tasks of maintenance and monitoring. Each is finite and may be lost, repeated or late.

`processing.schedule` says when beat sends them.
"""

import logging
import random
import time
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from celery import shared_task

from runtime.shutdown import is_stopping
from viewcounter.catalogue.sync import sync_catalogue as run_sync_catalogue
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.deadletters.stopped import measure_dead_letters
from viewcounter.eventlog.registry import get_event_log, get_lag_board
from viewcounter.health.cluster_health import probe_cluster, publish_durability, publish_open_losses, publish_signature
from viewcounter.health.registration import find_services, publish_services
from viewcounter.maintenance.audit_runs import run_audit
from viewcounter.maintenance.errors import BackupError
from viewcounter.maintenance.lag import publish_lag, read_lag
from viewcounter.maintenance.periodic_backup import run_periodic_backup
from viewcounter.maintenance.recount_jobs import list_runnable, requeue_lost
from viewcounter.maintenance.recount_jobs import run_recount as continue_recount
from viewcounter.maintenance.retention import drop_old_raw_days, retain_partition
from viewcounter.maintenance.rollup import find_partitions_to_roll, roll_partition
from viewcounter.maintenance.shard_care import ensure_raw_days_everywhere
from viewcounter.maintenance.sketching import find_partitions_to_sketch, sketch_partition
from viewcounter.moves.errors import MoverStopping
from viewcounter.moves.metrics import publish_unfinished
from viewcounter.moves.scheduler import build_tools, resume_abandoned
from viewcounter.processing.log_watch import watch_log
from viewcounter.processing.task_outages import postponed

logger = logging.getLogger(__name__)

CATALOGUE_BATCH = 1000
CATALOGUE_MAX_ROUNDS = 20
"""A large import takes several calls of the task rather than one that runs into its time limit."""


@shared_task(name="measure_lag")
def measure_lag() -> None:
    """Publish the lag of each partition as metrics, and the lag of all of them to the gateways."""
    with postponed("measure_lag", "lag is not measured or not published to gateways"):
        watch_log(get_event_log())
        lag = read_lag(get_cluster(), get_event_log())
        publish_lag(lag)
        get_lag_board().write(lag.notice)


@shared_task(name="measure_cluster")
def measure_cluster() -> None:
    """Publish metrics of the registered processes, and of shards whose commits reach too few replicas."""
    config = get_config()
    with postponed("measure_cluster", "the health of the cluster is not measured"):
        _, shards = probe_cluster(
            get_cluster(),
            timeout_seconds=config.readiness.probe_seconds,
            max_lag_seconds=config.cluster.replica_max_lag_seconds,
        )
        publish_durability(shards)
        publish_open_losses(shards)
        publish_signature()
        publish_services(find_services())


@shared_task(name="count_dead_letters")
def count_dead_letters() -> None:
    """Publish metrics of dead letters and of stopped partitions."""
    with postponed("count_dead_letters", "dead letters and stopped partitions are not counted"):
        measure_dead_letters(get_cluster())


@shared_task(name="ensure_raw_days")
def ensure_raw_days() -> None:
    """Create the coming days' partitions of raw_event on every shard."""
    with postponed("ensure_raw_days", "day partitions of raw events are not created"):
        ensure_raw_days_everywhere(get_cluster(), today=datetime.now(UTC).date())


@shared_task(name="sync_catalogue")
def sync_catalogue() -> None:
    """Copy changed videos and channels to the shards."""
    with postponed("sync_catalogue", "titles on the shards are behind the catalogue"):
        for _ in range(CATALOGUE_MAX_ROUNDS):
            if not run_sync_catalogue(get_cluster(), batch=CATALOGUE_BATCH):
                break


@shared_task(name="dispatch_rollups")
def dispatch_rollups() -> None:
    """Queue a rollup for each partition with an hour to close or with dirty buckets."""
    config = get_config()
    with postponed("dispatch_rollups", "cannot find the partitions to roll up"):
        for partition in find_partitions_to_roll(get_cluster(), grace_seconds=config.rollup.grace_seconds):
            rollup.apply_async((partition,), expires=config.rollup.interval_seconds)


@shared_task(name="rollup")
def rollup(partition: int) -> None:
    """Replace hours and days of one partition; see maintenance.rollup."""
    settings = get_config().rollup
    with postponed("rollup", f"partition {partition} is not rolled up"):
        report = roll_partition(get_cluster(), partition, settings=settings)
        if report.has_changes:
            logger.info("rolled up %s", report)


@shared_task(name="dispatch_sketches")
def dispatch_sketches() -> None:
    """Queue sketches to be made, in few tasks: an hour of events takes so long that drains would wait for a worker.

    In random order, so that no partition waits for one that always fails.
    """
    config = get_config()
    with postponed("dispatch_sketches", "cannot find the sketches that are due"):
        partitions = find_partitions_to_sketch(get_cluster())
        random.shuffle(partitions)
        for first in range(min(len(partitions), config.sketch.tasks_max)):
            sketch.apply_async((partitions[first :: config.sketch.tasks_max],), expires=config.sketch.interval_seconds)


@shared_task(name="sketch")
def sketch(partitions: list[int]) -> None:
    """Make sketches of viewers and values, for as many partitions as time allows; see maintenance.sketching."""
    settings = get_config().sketch
    ends_at = time.monotonic() + settings.budget_seconds
    for partition in partitions:
        left_seconds = ends_at - time.monotonic()
        if left_seconds <= 0:
            return
        with postponed("sketch", f"sketches of partition {partition} wait"):
            report = sketch_partition(get_cluster(), partition, settings=replace(settings, budget_seconds=left_seconds))
            if report.has_changes:
                logger.info("sketched %s", report)


@shared_task(name="dispatch_retention")
def dispatch_retention() -> None:
    """Drop old days of raw events, and queue retention for each partition."""
    config = get_config()
    with postponed("dispatch_retention", "expired data are not removed"):
        for partition in range(get_cluster().topology.partition_count):
            retain.apply_async((partition,), expires=config.retention.interval_seconds)
        drop_old_raw_days(get_cluster(), policy=config.retention)


@shared_task(name="retain")
def retain(partition: int) -> None:
    """Remove expired minutes, hours and ids of one partition; see maintenance.retention."""
    with postponed("retain", f"partition {partition} keeps expired data"):
        report = retain_partition(get_cluster(), partition, policy=get_config().retention)
        if report.has_changes:
            logger.info("retention %s", report)


@shared_task(name="audit")
def audit() -> None:
    """Queue the audit of every partition."""
    with postponed("audit", "partitions are not audited"):
        for partition in range(get_cluster().topology.partition_count):
            audit_partition.apply_async((partition,), expires=get_config().audit.interval_seconds)


@shared_task(name="audit_partition")
def audit_partition(partition: int) -> None:
    """Compare the counters of one partition with its raw events; see maintenance.audit."""
    with postponed("audit_partition", f"partition {partition} is not audited"):
        run_audit(get_cluster(), partition, settings=get_config().audit, now=datetime.now(UTC))


@shared_task(name="resume_recounts")
def resume_recounts() -> None:
    """Queue every unfinished recount without a worker, and those whose result a failover has lost."""
    now = datetime.now(UTC)
    with postponed("resume_recounts", "finished recounts are not compared with their shards"):
        requeue_lost(get_cluster(), now=now)
    with postponed("resume_recounts", "recounts wait"):
        for job_id in list_runnable(now=now):
            run_recount.apply_async((str(job_id),), expires=get_config().recount.lease_seconds)


@shared_task(name="run_recount")
def run_recount(job_id: str) -> None:
    """Continue one recount for a while; see maintenance.recount_jobs."""
    settings = get_config().recount
    with postponed("run_recount", f"recount {job_id} waits"):
        continue_recount(get_cluster(), UUID(job_id), settings=settings, budget_seconds=settings.budget_seconds)


@shared_task(name="resume_abandoned_moves")
def resume_abandoned_moves() -> None:
    """Continue moves whose mover died while their partition takes no flushes, until it takes them again."""
    with postponed("resume_abandoned_moves", "abandoned moves are not resumed"):
        try:
            resume_abandoned(build_tools(get_config(), is_stopping=is_stopping))
        except MoverStopping:
            logger.info("stopping; abandoned moves are left to the next worker")


@shared_task(name="measure_moves")
def measure_moves() -> None:
    """Set the gauges of unfinished moves."""
    with postponed("measure_moves", "unfinished moves are not measured"):
        publish_unfinished()


@shared_task(name="backup_control")
def backup_control() -> None:
    """Back up the control database if that is due, and publish the age of the last verified backup."""
    settings = get_config().control_backup
    if settings.folder is None:
        return
    with postponed("backup_control", "the control database is not backed up", expected=(BackupError,)):
        run_periodic_backup(settings.folder, settings)
