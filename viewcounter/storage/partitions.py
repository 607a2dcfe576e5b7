"""Reading and placing the state rows of partitions. Loaded by every process: needs no numpy."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from viewcounter.storage.errors import PartitionNotHere, SchemaVersionMismatch
from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("partitions.sql")

READ_STATE = _SQL["read_state"]
"""Parameters: partition. One row: epoch, position, watermark, state, admits_since."""
READ_STATES = _SQL["read_states"]
"""Parameters: partitions. A row each that exists: partition, epoch, position, watermark, state."""
READ_GENERATIONS = _SQL["read_generations"]
"""Parameters: partitions. A row each that is here: partition, generation."""
READ_SCHEMA_VERSION = _SQL["read_schema_version"]
RAISE_TERM = _SQL["raise_term"]
"""Parameters: term. Never lowers it."""
JOIN_CLUSTER = _SQL["join_cluster"]
"""Parameters: cluster_id. Leaves a shard alone that has one."""
HAS_IDENTITY = _SQL["has_identity"]
"""No parameters. One row: has_identity, whether there is anything to read it from."""
READ_CLUSTER_ID = _SQL["read_cluster_id"]
"""No parameters. One row: cluster_id."""

OWNED = "owned"
INCOMING = "incoming"
HELD = "held"
STOPPED = "stopped"
MOVED = "moved"
ELSEWHERE = frozenset({INCOMING, MOVED})
"""Rows in these states are of partitions that another shard owns."""

EXPECTED_SCHEMA_VERSION = "0002_deletion_clock"
"""The newest migration of the storage app; a test holds it against the migration files."""


@dataclass(frozen=True, slots=True)
class PartitionState:
    """The state row of one partition: everything up to `position` (`ms-seq`) has been applied.

    An event that happened before `admits_since` cannot be counted exactly any more; see decision 0005.
    """

    epoch: int
    position: str
    watermark: datetime
    state: str
    admits_since: datetime = datetime(1970, 1, 1, tzinfo=UTC)


def get_state(rows: list[dict[str, Any]], *, partition: int) -> PartitionState:
    """From the rows of READ_STATE. Raises PartitionNotHere for none."""
    if not rows:
        raise PartitionNotHere(f"partition {partition} has no state row on its shard")
    row = rows[0]
    return PartitionState(row["epoch"], row["position"], row["watermark"], row["state"], row["admits_since"])


def adopt_partitions(connection: psycopg.Connection[Any], epochs: Mapping[int, int]) -> int:
    """Create the state rows a shard does not have yet; `epochs` by partition. Returns how many were new."""
    return connection.execute(
        _SQL["adopt_partitions"].text, {"partitions": list(epochs), "epochs": list(epochs.values())}
    ).rowcount


def read_incoming(connection: psycopg.Connection[Any]) -> dict[int, str]:
    """Positions of the copies on this shard that are not the owner's yet."""
    return {row["partition"]: row["position"] for row in connection.execute(_SQL["read_incoming"].text)}


def accept_arrived(connection: psycopg.Connection[Any], epochs: Mapping[int, int]) -> int:
    """Own the incoming partitions that the topology gives to this shard at these epochs. Returns how many."""
    return connection.execute(
        _SQL["accept_arrived"].text, {"partitions": list(epochs), "epochs": list(epochs.values())}
    ).rowcount


def advance_watermarks(
    connection: psycopg.Connection[Any], tails: Mapping[int, str], *, epochs: Mapping[int, int], read_at: datetime
) -> int:
    """Move the watermark of partitions that have applied all of the log as it was at `read_at`, and that are still this
    shard's at their epochs."""
    return connection.execute(
        _SQL["advance_watermarks"].text,
        {
            "tail_partitions": list(tails),
            "tails": list(tails.values()),
            "epochs": [epochs[partition] for partition in tails],
            "read_at": read_at,
        },
    ).rowcount


def pass_over_lost(
    connection: psycopg.Connection[Any],
    positions: Mapping[int, str],
    *,
    floors: Mapping[int, str],
    epochs: Mapping[int, int],
) -> int:
    """Go on reading the log at `floors`, by partition, where it does not reach back to `positions` any more.

    A partition that is somewhere else by now is left alone. Returns how many went on.
    """
    return connection.execute(
        _SQL["pass_over_lost"].text,
        {
            "partitions": list(positions),
            "epochs": [epochs[partition] for partition in positions],
            "positions": list(positions.values()),
            "floors": [floors[partition] for partition in positions],
        },
    ).rowcount


def lock_partitions_here(connection: psycopg.Connection[Any], epochs: Mapping[int, int]) -> frozenset[int]:
    """Those of the partitions that are this shard's at these epochs. None of them leaves until the transaction ends."""
    rows = connection.execute(
        _SQL["lock_partitions_here"].text, {"partitions": list(epochs), "epochs": list(epochs.values())}
    )
    return frozenset(row["partition"] for row in rows)


def lock_every_row(connection: psycopg.Connection[Any]) -> None:
    """Before what concerns all partitions of the shard is decided: in order, so that no two wait for each other."""
    connection.execute(_SQL["lock_every_row"].text)


def check_schema_version(rows: list[dict[str, Any]], *, shard: str) -> None:
    """From the rows of READ_SCHEMA_VERSION. Raises SchemaVersionMismatch."""
    found = rows[0]["name"] if rows else "none"
    if found != EXPECTED_SCHEMA_VERSION:
        raise SchemaVersionMismatch(f"{shard} has schema {found}, this release needs {EXPECTED_SCHEMA_VERSION}")
