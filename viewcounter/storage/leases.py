"""Leases of pull processes on a shard, and the owners of its partitions.

A lease only saves work: it keeps two processes from draining one partition, and authorises nothing. What is counted is
decided by the flush's compare-and-set. Only the shard's clock says whether a lease has ended. Each function runs in the
caller's transaction and may be repeated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("leases.sql")

REQUEST_WATERMARKS = _SQL["request_watermarks"]
"""Parameters: partitions. Asks their owners to advance the watermarks of those without new events."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """Times of a lease, all by the shard's clock."""

    lease_seconds: float
    idle_seconds: float
    """Age from which the watermark of a partition without new events is advanced."""
    request_seconds: float
    """Age from which the request of a reader for a newer watermark is forgotten."""


@dataclass(frozen=True, slots=True)
class OwnedPartition:
    """A partition's row. `owner`: the id of a process, which may have ended; None: nobody."""

    partition: int
    owner: str | None
    epoch: int
    position: str
    state: str
    watermark_age_seconds: float
    needs_watermark: bool


@dataclass(frozen=True, slots=True)
class LeaseView:
    """A shard when a lease was renewed. `workers`: ids of the living processes, the renewing one included, in an order
    that is the same on every shard. `partitions` in ascending order, without those that have moved away."""

    workers: tuple[str, ...]
    partitions: tuple[OwnedPartition, ...]


def renew_lease(connection: Connection, worker: str, *, started_at: datetime, terms: LeaseTerms) -> LeaseView:
    """Begins the lease, or prolongs it. Waits for no lock but that of the lease's own row."""
    rows = connection.execute(
        _SQL["renew_lease"].text,
        {
            "worker": worker,
            "started_at": started_at,
            "lease_seconds": terms.lease_seconds,
            "idle_seconds": terms.idle_seconds,
            "request_seconds": terms.request_seconds,
        },
    ).fetchall()
    return LeaseView(
        workers=tuple(rows[0]["workers"]),
        partitions=tuple(
            OwnedPartition(**{name: value for name, value in row.items() if name != "workers"})
            for row in rows
            if row["partition"] is not None
        ),
    )


def change_owners_without_wait(connection: Connection) -> None:
    """The transaction commits without waiting for disk or replicas: a lost change of owner is only made again."""
    connection.execute("SET LOCAL synchronous_commit = off")


def claim_partitions(connection: Connection, worker: str, epochs: Mapping[int, int]) -> frozenset[int]:
    """Own those of the partitions, given with their epochs, that have no living owner. Returns them; those whose rows
    are locked are left out. Removes leases that expired long ago."""
    connection.execute(_SQL["remove_expired_leases"].text)
    rows = connection.execute(
        _SQL["claim_partitions"].text,
        {"worker": worker, "partitions": list(epochs), "epochs": list(epochs.values())},
    )
    return frozenset(row["partition"] for row in rows)


def hand_over_partitions(
    connection: Connection, worker: str, owners: Mapping[int, str | None], *, epochs: Mapping[int, int]
) -> frozenset[int]:
    """Give partitions of `worker` to other living processes, or to nobody. Returns them; those whose rows are locked
    are left out."""
    rows = connection.execute(
        _SQL["hand_over_partitions"].text,
        {
            "worker": worker,
            "partitions": list(owners),
            "owners": list(owners.values()),
            "epochs": [epochs[partition] for partition in owners],
        },
    )
    return frozenset(row["partition"] for row in rows)


def end_lease(connection: Connection, worker: str) -> None:
    """All partitions of the process are free from the commit on."""
    connection.execute(_SQL["end_lease"].text, {"worker": worker})
