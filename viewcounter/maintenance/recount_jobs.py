"""Recounts as jobs: requested once, run by any free worker, resumed by another one after a crash.

Progress is in the job's row (`next_first`), corrections are in the shard's `correction` rows, which are written with
the change. The lease only saves work: two workers on one job repair nothing twice.

A change of primary may lose the last corrections. A recount during which it happens starts again; one that was done
before is repeated if some of its corrections are lost.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from runtime.errors import Permanent
from shardproxy.errors import ShardProxyError
from shardproxy.query import QueryClass
from viewcounter.maintenance.errors import RecountStuck, UnknownRecount
from viewcounter.maintenance.findings import encode_difference
from viewcounter.maintenance.models import RecountJob, RecountState
from viewcounter.maintenance.recount import (
    RangeFound,
    compare_range,
    count_videos_of,
    find_range,
    get_range_of_video,
    repair_range,
    whole_partition,
)
from viewcounter.maintenance.settings import RecountSettings
from viewcounter.storage.audit import LAST_VIDEO, Differences, VideoRange
from viewcounter.storage.errors import PartitionBeingMoved, StorageError
from viewcounter.storage.recount import Author, Corrections, read_corrections

logger = logging.getLogger(__name__)

RUNNABLE_MAX = 20
"""Recounts queued at once; the others follow when these are done."""
UNFINISHED = (RecountState.QUEUED, RecountState.RUNNING)
REPEATED_FOR = timedelta(days=7)
"""A replica that lacks older writes is never promoted: it was excluded long before."""


class OutOfTime(Exception):
    """The task's budget for this recount is used up, or another worker runs it; a later task continues."""


@dataclass(frozen=True, slots=True)
class Budget:
    """`ends_at` on the monotonic clock; None: no limit."""

    ends_at: float | None
    lease_seconds: int


def create_video_recount(cluster: ClusterProxy, video_id: str, *, apply: bool, actor: str) -> RecountJob:
    partition = get_range_of_video(cluster, video_id).partition
    return _create(
        partition=partition, video_id=video_id, videos_total=1, apply=apply, actor=actor, next_first=video_id
    )


def create_partition_recount(partition: int, *, apply: bool, actor: str) -> RecountJob:
    return _create(partition=partition, apply=apply, actor=actor)


def _create(**fields: Any) -> RecountJob:
    job: RecountJob = RecountJob.objects.create(**fields)
    return job


def get_recount(job_id: UUID) -> RecountJob:
    """Raises UnknownRecount."""
    job: RecountJob | None = RecountJob.objects.filter(pk=job_id).first()
    if job is None:
        raise UnknownRecount(f"There is no recount {job_id}.")
    return job


def list_recounts(*, limit: int, before: tuple[datetime, UUID] | None = None) -> list[RecountJob]:
    """Newest first. `before`: `created_at` and id of the last recount of the previous page."""
    jobs = RecountJob.objects.order_by("-created_at", "-pk")
    if before is not None:
        created_at, job_id = before
        jobs = jobs.filter(Q(created_at__lt=created_at) | Q(created_at=created_at, pk__lt=job_id))
    return list(jobs[:limit])


def list_runnable(*, now: datetime) -> list[UUID]:
    """Unfinished recounts that no worker has leased, oldest first."""
    free = _filter_free(RecountJob.objects.filter(state__in=UNFINISHED), now)
    return list(free.values_list("pk", flat=True)[:RUNNABLE_MAX])


def requeue_lost(cluster: ClusterProxy, *, now: datetime) -> list[UUID]:
    """Queue recounts again whose corrections a change of primary has lost; returns their ids.

    A shard that does not answer delays no other one: its recounts are checked by the next call.
    """
    lost = []
    for job in _list_to_verify(cluster, now=now):
        try:
            corrections = _read_corrections(cluster, job, limit=1)
        except (ShardProxyError, ClusterProxyError) as error:
            logger.info("cannot check the corrections of recount %s: %s", job.pk, error)
            continue
        if corrections.counts == job.difference_counts:
            RecountJob.objects.filter(pk=job.pk).update(corrected_on=_format_shard_term(cluster, job, corrections.term))
            continue
        logger.warning("repeating recount %s: a change of primary has lost some of its corrections", job.pk)
        done = RecountJob.objects.filter(pk=job.pk, state=RecountState.DONE)
        done.update(state=RecountState.QUEUED, finished_at=None, **_build_initial_state(job))
        lost.append(job.pk)
    return lost


def _list_to_verify(cluster: ClusterProxy, *, now: datetime) -> list[RecountJob]:
    topology = cluster.topology
    is_elsewhere = Q()
    for shard in topology.shards:
        partitions = topology.get_partitions_of(shard.id)
        is_elsewhere |= Q(partition__in=partitions) & ~Q(corrected_on=f"{shard.name} in term {shard.term}")
    done = RecountJob.objects.filter(apply=True, state=RecountState.DONE, finished_at__gte=now - REPEATED_FOR)
    return list(done.exclude(difference_counts={}).filter(is_elsewhere)[:RUNNABLE_MAX])


def _format_shard_term(cluster: ClusterProxy, job: RecountJob, term: int) -> str:
    return f"{cluster.topology.get_shard_of(job.partition).name} in term {term}"


def _read_corrections(cluster: ClusterProxy, job: RecountJob, *, limit: int) -> Corrections:
    with cluster.transaction(job.partition, query_class=QueryClass.MAINTENANCE) as connection:
        return read_corrections(connection, partition=job.partition, job_id=job.pk, limit=limit)


def _build_initial_state(job: RecountJob, *, corrected_on: str = "") -> dict[str, Any]:
    """The columns of a recount that has not started."""
    return {
        "next_first": job.video_id,
        "videos_done": 0,
        "difference_counts": {},
        "differences": [],
        "corrected_on": corrected_on,
    }


def run_recount(
    cluster: ClusterProxy, job_id: UUID, *, settings: RecountSettings, budget_seconds: float | None
) -> None:
    """Run a recount until it is done or the budget is used up. Does nothing while another worker has the lease.

    Raises PartitionBeingMoved and the errors of a dependency that is down; a later run then continues. Other errors end
    the recount as failed.
    """
    if not _claim(job_id, settings.lease_seconds):
        return
    job = get_recount(job_id)
    ends_at = None if budget_seconds is None else time.monotonic() + budget_seconds
    budget = Budget(ends_at, settings.lease_seconds)
    try:
        _run(cluster, job, settings=settings, budget=budget)
    except OutOfTime:
        logger.info("recount %s: %d of %s videos done", job.pk, job.videos_done, job.videos_total)
    except PartitionBeingMoved as error:
        RecountJob.objects.filter(pk=job.pk).update(error=f"waits: {error}")
        raise
    except (StorageError, RecountStuck) as error:
        _finish(job, RecountState.FAILED, error=str(error))
    except (ShardProxyError, ClusterProxyError) as error:
        if not isinstance(error, Permanent):
            RecountJob.objects.filter(pk=job.pk).update(error=f"waits: {error}")
            raise
        _finish(job, RecountState.FAILED, error=str(error))
    finally:
        RecountJob.objects.filter(pk=job.pk).update(lease_until=None)


def _run(cluster: ClusterProxy, job: RecountJob, *, settings: RecountSettings, budget: Budget) -> None:
    keep_alive = _make_keep_alive(job, budget)
    if job.videos_total is None:
        job.videos_total = count_videos_of(cluster, job.partition)
        job.save(update_fields=["videos_total"])
    if job.apply and not job.corrected_on:
        _restart(job, corrected_on=_format_shard_term(cluster, job, _read_corrections(cluster, job, limit=1).term))
    while True:
        keep_alive()
        found = find_range(cluster, _get_rest(job), limits=settings)
        differences = compare_range(cluster, found.videos, limits=settings)
        if job.apply:
            author = Author(job_id=job.pk, actor=job.actor)
            repair_range(cluster, found.videos, differences, author=author, limits=settings, keep_alive=keep_alive)
            corrections = _read_corrections(cluster, job, limit=settings.listed_differences)
            shard_term = _format_shard_term(cluster, job, corrections.term)
            if shard_term != job.corrected_on:
                logger.warning(
                    "restarting recount %s: its partition is on %s, it was on %s", job.pk, shard_term, job.corrected_on
                )
                _restart(job, corrected_on=shard_term)
                continue
            _set_corrections(job, corrections)
        else:
            _add_differences(job, differences, limit=settings.listed_differences)
        _advance(job, found)
        if found.next_first is None:
            _finish(job, RecountState.DONE)
            return


def _advance(job: RecountJob, done: RangeFound) -> None:
    """Raises OutOfTime when another worker, after our lease had expired, has continued from the same video."""
    next_first, videos_done = done.next_first or job.next_first, job.videos_done + done.video_count
    here = RecountJob.objects.filter(
        pk=job.pk, state=RecountState.RUNNING, next_first=job.next_first, videos_done=job.videos_done
    )
    advanced = here.update(
        next_first=next_first,
        videos_done=videos_done,
        difference_counts=job.difference_counts,
        differences=job.differences,
        error="",
    )
    if not advanced:
        raise OutOfTime
    job.next_first, job.videos_done = next_first, videos_done


def _get_rest(job: RecountJob) -> VideoRange:
    if job.video_id:
        return VideoRange(job.partition, job.video_id, job.video_id)
    return VideoRange(job.partition, job.next_first or whole_partition(job.partition).first, LAST_VIDEO)


def _restart(job: RecountJob, *, corrected_on: str) -> None:
    """Start from the first video. Raises OutOfTime as `_advance` does."""
    here = RecountJob.objects.filter(
        pk=job.pk, state=RecountState.RUNNING, next_first=job.next_first, videos_done=job.videos_done
    )
    initial = _build_initial_state(job, corrected_on=corrected_on)
    if not here.update(**initial):
        raise OutOfTime
    for name, value in initial.items():
        setattr(job, name, value)


def _set_corrections(job: RecountJob, found: Corrections) -> None:
    """From the shard, where they were written with the changes: correct also after a crash in between."""
    job.difference_counts = found.counts
    job.differences = [encode_difference(row) for row in found.rows]


def _add_differences(job: RecountJob, found: Differences, *, limit: int) -> None:
    listed: list[dict[str, Any]] = list(job.differences)
    counts: dict[str, int] = dict(job.difference_counts)
    for tier, count in found.counts.items():
        counts[tier] = counts.get(tier, 0) + count
    for row in found.rows:
        if sum(other["tier"] == row.tier for other in listed) < limit:
            listed.append(encode_difference(row))
    job.difference_counts, job.differences = counts, listed


def _make_keep_alive(job: RecountJob, budget: Budget) -> Callable[[], None]:
    """A function that renews the lease after half of it and raises OutOfTime when the budget is used up."""
    renew_at = time.monotonic() + budget.lease_seconds / 2

    def keep_alive() -> None:
        nonlocal renew_at
        now = time.monotonic()
        if budget.ends_at is not None and now >= budget.ends_at:
            raise OutOfTime
        if now >= renew_at:
            RecountJob.objects.filter(pk=job.pk).update(
                lease_until=timezone.now() + timedelta(seconds=budget.lease_seconds)
            )
            renew_at = now + budget.lease_seconds / 2

    return keep_alive


def _claim(job_id: UUID, lease_seconds: int) -> bool:
    now = timezone.now()
    free = _filter_free(RecountJob.objects.filter(pk=job_id, state__in=UNFINISHED), now)
    is_ours: bool = free.update(state=RecountState.RUNNING, lease_until=now + timedelta(seconds=lease_seconds)) == 1
    if is_ours:
        RecountJob.objects.filter(pk=job_id, started_at=None).update(started_at=now)
    return is_ours


def _filter_free(jobs: "QuerySet[RecountJob]", now: datetime) -> "QuerySet[RecountJob]":
    return jobs.filter(Q(lease_until=None) | Q(lease_until__lt=now)).order_by("created_at")


def _finish(job: RecountJob, state: str, *, error: str = "") -> None:
    job.state, job.error, job.finished_at = state, error, timezone.now()
    job.save(update_fields=["state", "error", "finished_at"])
    logger.log(
        logging.ERROR if error else logging.INFO, "recount %s: %s %s %s", job.pk, state, job.difference_counts, error
    )


def encode_job(job: RecountJob) -> dict[str, Any]:
    """The fields for JSON; times are datetimes."""
    return {
        "id": str(job.pk),
        "video_id": job.video_id or None,
        "partition": job.partition,
        "apply": job.apply,
        "actor": job.actor,
        "state": job.state,
        "videos_done": job.videos_done,
        "videos_total": job.videos_total,
        "difference_counts": job.difference_counts,
        "differences": job.differences,
        "error": job.error or None,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }
