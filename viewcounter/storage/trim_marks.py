"""Positions that every copy of a partition had applied a safety time ago, by the clock of the shard's primary.

A position carries no time, and no other clock may decide what is deleted. The marks only delay a trim: what is trimmed
lies below the present positions of all copies, whatever a mark says.
"""

from collections.abc import Mapping
from typing import Any

import psycopg

from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("trim_marks.sql")


def mark_applied(
    connection: psycopg.Connection[Any], positions: Mapping[int, str], *, safety_seconds: float
) -> dict[int, str]:
    """Marks `positions` (`term-seq`, by partition). Returns those of the last marks that are `safety_seconds` old; a
    partition without such a mark is missing. Runs in the caller's transaction; loses nothing if repeated."""
    rows = connection.execute(
        _SQL["mark_applied"].text,
        {"partitions": list(positions), "positions": list(positions.values()), "safety_seconds": safety_seconds},
    )
    return {row["partition"]: row["position"] for row in rows}
