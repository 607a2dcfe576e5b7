"""Corrects the counts of a video to those of its raw events, an hour or a day in one transaction.

Invariant: no correct row becomes wrong, at any moment. Either minutes are replaced, rolled buckets above them are
marked dirty and the correction is recorded, or nothing changes. A total becomes the sum of the tiers, so it is
corrected only once the minutes are correct: before that it may be right. The partition's row is locked first, so no
flush or rollup runs in between.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import psycopg

from viewcounter.storage.audit import (
    FOREVER,
    Difference,
    Edges,
    Figures,
    VideoRange,
    find_minute_differences,
    find_rollup_differences,
    find_total_differences,
    get_edges,
)
from viewcounter.storage.errors import PartitionBeingMoved, PartitionNotHere
from viewcounter.storage.named_sql import load_queries
from viewcounter.storage.partitions import ELSEWHERE, HELD
from viewcounter.storage.raw import HOUR
from viewcounter.storage.snapshots import hold_raw_days

_SQL = load_queries("recount.sql")
_ROWS_MAX = 1_000_000
"""More rows than one hour of a video can have: a repair is never cut short."""

Connection = psycopg.Connection[Any]


class RepairScope(StrEnum):
    """The rows of a video that one transaction repairs."""

    HOUR = "hour"
    """The minutes of one hour, from raw events."""
    DAY = "day"
    """The rolled hours of one day and the day itself, from the minutes, which must be correct already."""
    TOTAL = "total"
    """The total, from the tiers, whose minutes must be correct already."""


@dataclass(frozen=True, slots=True)
class Repair:
    """`start` of the hour or day; None for the total."""

    partition: int
    video_id: str
    scope: RepairScope
    start: datetime | None = None


@dataclass(frozen=True, slots=True)
class Author:
    """The actor of a correction, and its recount."""

    job_id: UUID
    actor: str


@dataclass(slots=True)
class _Work:
    """State shared by the steps of one repair; `corrections` grows."""

    repair: Repair
    edges: Edges
    author: Author
    future_seconds: int
    corrections: list[Difference] = field(default_factory=list)

    @property
    def videos(self) -> VideoRange:
        return VideoRange(self.repair.partition, self.repair.video_id, self.repair.video_id)

    @property
    def keys(self) -> dict[str, Any]:
        return {"partition": self.repair.partition, "video_id": self.repair.video_id}


Step = Callable[[Connection, _Work], None]


def apply_repair(
    connection: Connection, repair: Repair, *, epoch: int, author: Author, future_seconds: int
) -> list[Difference]:
    """Within the caller's transaction on the primary. Returns the corrected differences; none when repeated.

    Raises the errors of `check_owner`, and PartitionBeingMoved while a change would be lost.
    """
    row = connection.execute(_SQL["lock_partition"].text, {"partition": repair.partition}).fetchone()
    _check_owner(row, repair.partition, epoch=epoch)
    if row is None or row["is_being_moved"] or row["state"] == HELD:
        raise PartitionBeingMoved(f"partition {repair.partition} is being moved")
    hold_raw_days(connection)
    edges = get_edges(connection, repair.partition, future_seconds=future_seconds)
    work = _Work(repair, edges, author, future_seconds)
    for step in STEPS:
        step(connection, work)
    return work.corrections


def check_owner(connection: Connection, partition: int, *, epoch: int) -> None:
    """Check that this shard owns the partition, so that the caller does not read the remains of one that moved away.

    Raises PartitionNotHere if the shard has no row, and PartitionBeingMoved if it does not own the partition at that
    epoch of the topology.
    """
    row = connection.execute(_SQL["read_owner"].text, {"partition": partition}).fetchone()
    _check_owner(row, partition, epoch=epoch)


def _check_owner(row: Mapping[str, Any] | None, partition: int, *, epoch: int) -> None:
    if row is None:
        raise PartitionNotHere(f"partition {partition} is not on this shard")
    if row["state"] in ELSEWHERE or row["epoch"] != epoch:
        raise PartitionBeingMoved(
            f"partition {partition} is {row['state']} on this shard at epoch {row['epoch']}, {epoch} in the topology"
        )


def _replace_minutes(connection: Connection, work: _Work) -> None:
    hour = work.repair.start
    if (
        work.repair.scope is not RepairScope.HOUR
        or hour is None
        or not work.edges.raw_from
        or hour < work.edges.raw_from
    ):
        return
    wrong = find_minute_differences(
        connection, work.videos, start=hour, end=hour + HOUR, future_seconds=work.future_seconds, limit=_ROWS_MAX
    ).rows
    _replace(connection, work, wrong, set_statement="set_minutes", delete_statement="delete_minutes")


def _find_wrong_buckets(connection: Connection, work: _Work) -> None:
    day = work.repair.start
    if work.repair.scope is RepairScope.DAY and day is not None:
        work.corrections += find_rollup_differences(
            connection,
            work.videos,
            work.edges,
            start=day,
            end=day + timedelta(days=1),
            raw_from=FOREVER,
            future_seconds=work.future_seconds,
            limit=_ROWS_MAX,
        ).rows


def _mark_buckets(connection: Connection, work: _Work) -> None:
    """Mark buckets that are wrong, or whose minutes were: readers ignore a marked bucket until it is rolled again."""
    if work.corrections:
        parameters = {**work.keys, **_get_places(work.corrections), "rolled_through": work.edges.rolled_through}
        connection.execute(_SQL["mark_buckets"].text, parameters)


def _replace_totals(connection: Connection, work: _Work) -> None:
    if work.repair.scope is not RepairScope.TOTAL:
        return
    connection.execute(_SQL["ensure_video"].text, work.keys)
    wrong = find_total_differences(
        connection, work.videos, raw_from=FOREVER, future_seconds=work.future_seconds, limit=_ROWS_MAX
    ).rows
    _replace(connection, work, wrong, set_statement="set_totals", delete_statement="delete_totals")


def _record(connection: Connection, work: _Work) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            _SQL["insert_correction"].text,
            [
                {
                    **work.keys,
                    "job_id": work.author.job_id,
                    "actor": work.author.actor,
                    "tier": row.tier,
                    "event_type_id": row.event_type_id,
                    "start": row.start,
                    "before": _flatten(row.found),
                    "after": _flatten(row.expected),
                }
                for row in work.corrections
            ],
        )


def _renew_generation(connection: Connection, work: _Work) -> None:
    if work.corrections:
        connection.execute(_SQL["renew_generation"].text, work.keys)


STEPS: list[Step] = [
    _replace_minutes,
    _find_wrong_buckets,
    _mark_buckets,
    _replace_totals,
    _record,
    _renew_generation,
]
"""Run in this order. A list, so that tests can fail a repair between any two."""


@dataclass(frozen=True, slots=True)
class Corrections:
    """The first rows of each tier, the number of all rows by tier, and the shard term in which they were read."""

    rows: tuple[Difference, ...]
    counts: dict[str, int]
    term: int


def read_corrections(connection: Connection, *, partition: int, job_id: UUID, limit: int) -> Corrections:
    """The corrections of a recount so far; at most `limit` rows of each tier."""
    parameters = {"partition": partition, "job_id": job_id, "limit": limit}
    rows = connection.execute(_SQL["read_corrections"].text, parameters).fetchall()
    return Corrections(
        rows=tuple(
            Difference(
                tier=row["tier"],
                partition=row["partition"],
                video_id=row["video_id"],
                event_type_id=row["event_type_id"],
                start=row["start"] and row["start"].astimezone(UTC),
                found=row["before"] and Figures(*row["before"]),
                expected=row["after"] and Figures(*row["after"]),
            )
            for row in rows
        ),
        counts={row["tier"]: row["tier_count"] for row in rows},
        term=read_term(connection),
    )


def read_term(connection: Connection) -> int:
    """The shard term, which grows at every change of the primary."""
    return int(connection.execute(_SQL["read_term"].text).fetchall()[0]["term"])


def _replace(
    connection: Connection, work: _Work, wrong: Sequence[Difference], *, set_statement: str, delete_statement: str
) -> None:
    """Replace the rows; those whose bucket has no raw events are deleted."""
    right = [row for row in wrong if row.expected is not None]
    gone = [row for row in wrong if row.expected is None]
    if right:
        connection.execute(
            _SQL[set_statement].text, {**work.keys, **_get_places(right), **_get_figures([r.expected for r in right])}
        )
    if gone:
        connection.execute(_SQL[delete_statement].text, {**work.keys, **_get_places(gone)})
    work.corrections += wrong


def _get_places(rows: Sequence[Difference]) -> dict[str, list[Any]]:
    return {"type_ids": [row.event_type_id for row in rows], "starts": [row.start for row in rows]}


def _get_figures(figures: Sequence[Figures | None]) -> dict[str, list[int]]:
    known = [f for f in figures if f is not None]
    return {
        "counts": [f.count for f in known],
        "sums": [f.sum for f in known],
        "mins": [f.min for f in known],
        "maxs": [f.max for f in known],
    }


def _flatten(figures: Figures | None) -> list[int] | None:
    return None if figures is None else [figures.count, figures.sum, figures.min, figures.max]
