"""Reads and creates the state rows of partitions. Loaded by every process: does not import numpy."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from viewcounter.storage.errors import SchemaVersionMismatch
from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("partitions.sql")

READ_STATES = _SQL["read_states"]
"""Parameters: partitions. One row for each that the shard holds: partition, epoch, position, watermark, state,
admits_since, owner, log_term, log_session, producers, lost, and read_at by the shard's clock."""
READ_GENERATIONS = _SQL["read_generations"]
"""Parameters: partitions. One row for each that the shard holds: partition, generation."""
READ_SCHEMA_VERSION = _SQL["read_schema_version"]
RAISE_TERM = _SQL["raise_term"]
"""Parameters: term. Never lowers it."""
RAISE_GENERATION = _SQL["raise_generation"]
"""Parameters: generation, of the topology. Never lowers it."""
CLAIM_GENERATION = _SQL["claim_generation"]
"""Parameters: generation. One row if the shard has stored it, none if it had that generation or a later one."""
GIVE_GENERATION_BACK = _SQL["give_generation_back"]
"""Parameters: generation. Undoes `claim_generation`."""
READ_IDENTITY = _SQL["read_identity"]
"""No parameters. One row: is_standby, term, generation, cluster_id."""
READ_PLACEMENT = _SQL["read_placement"]
"""No parameters. One row for each partition that has one: partition, epoch, state, move_token."""
JOIN_CLUSTER = _SQL["join_cluster"]
"""Parameters: cluster_id. Changes nothing on a shard that has a cluster id."""
HAS_IDENTITY = _SQL["has_identity"]
"""No parameters. One row: has_identity, whether the table `shard_identity` exists."""
READ_CLUSTER_ID = _SQL["read_cluster_id"]
"""No parameters. One row: cluster_id."""

OWNED = "owned"
INCOMING = "incoming"
HELD = "held"
STOPPED = "stopped"
MOVED = "moved"
ELSEWHERE = frozenset({INCOMING, MOVED})
"""States of the rows of partitions that another shard owns."""

EXPECTED_SCHEMA_VERSION = "0009_lost_ranges"
"""The newest migration of the storage app; a test holds it against the migration files."""


@dataclass(frozen=True, slots=True)
class PartitionState:
    """The state row of one partition: everything up to `position` (`term-seq`) has been applied.

    An event before `admits_since` can no longer be counted exactly; see decision 0005. Entries are taken of
    `log_session` alone, and of no log of a lower term than `log_term`.
    """

    epoch: int
    position: str
    watermark: datetime
    state: str
    admits_since: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    log_term: int = 0
    log_session: str = ""
    producers: bytes = b""


def get_states(rows: list[dict[str, Any]]) -> dict[int, PartitionState]:
    """From the rows of READ_STATES, by partition."""
    return {
        row["partition"]: PartitionState(
            row["epoch"],
            row["position"],
            row["watermark"],
            row["state"],
            row["admits_since"],
            row["log_term"],
            row["log_session"],
            row["producers"],
        )
        for row in rows
    }


def adopt_partitions(connection: psycopg.Connection[Any], epochs: Mapping[int, int]) -> int:
    """Create the missing state rows of a shard; `epochs` by partition. Returns the number of new rows."""
    return connection.execute(
        _SQL["adopt_partitions"].text, {"partitions": list(epochs), "epochs": list(epochs.values())}
    ).rowcount


def read_incoming(connection: psycopg.Connection[Any]) -> dict[int, str]:
    """Positions of the incoming copies on this shard, by partition."""
    return {row["partition"]: row["position"] for row in connection.execute(_SQL["read_incoming"].text)}


def accept_arrived(connection: psycopg.Connection[Any], epochs: Mapping[int, int]) -> int:
    """Own the incoming partitions that the topology assigns to this shard at these epochs. Returns their number."""
    return connection.execute(
        _SQL["accept_arrived"].text, {"partitions": list(epochs), "epochs": list(epochs.values())}
    ).rowcount


def advance_watermarks(
    connection: psycopg.Connection[Any], tails: Mapping[int, str], *, epochs: Mapping[int, int], read_at: datetime
) -> int:
    """Advance the watermark of partitions that had applied the whole log at `read_at`, and that this shard still owns
    at their epochs."""
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
) -> frozenset[int]:
    """Continue at `floors`, by partition, where the log no longer reaches back to `positions`.

    A partition that this shard no longer owns at its epoch is left alone. Returns those whose positions were moved.
    """
    rows = connection.execute(
        _SQL["pass_over_lost"].text,
        {
            "partitions": list(positions),
            "epochs": [epochs[partition] for partition in positions],
            "positions": list(positions.values()),
            "floors": [floors[partition] for partition in positions],
        },
    )
    return frozenset(row["partition"] for row in rows)


def lock_partitions_here(connection: psycopg.Connection[Any], epochs: Mapping[int, int]) -> frozenset[int]:
    """Lock the rows of those partitions that this shard owns at these epochs, and return them. None of them can move
    away until the transaction ends."""
    rows = connection.execute(
        _SQL["lock_partitions_here"].text, {"partitions": list(epochs), "epochs": list(epochs.values())}
    )
    return frozenset(row["partition"] for row in rows)


def lock_every_row(connection: psycopg.Connection[Any]) -> None:
    """Before a decision about all partitions of the shard. In a fixed order, so that two callers cannot deadlock."""
    connection.execute(_SQL["lock_every_row"].text)


def check_schema_version(rows: list[dict[str, Any]], *, shard: str) -> None:
    """From the rows of READ_SCHEMA_VERSION. Raises SchemaVersionMismatch."""
    found = rows[0]["name"] if rows else "none"
    if found != EXPECTED_SCHEMA_VERSION:
        raise SchemaVersionMismatch(f"{shard} has schema {found}; this release needs {EXPECTED_SCHEMA_VERSION}")
