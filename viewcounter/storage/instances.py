"""Reads the log positions that one database instance has applied."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from viewcounter.storage.named_sql import load_queries

READ_APPLIED = load_queries("instances.sql")["read_applied"]
"""Parameters: partitions. Rows for `read_applied`."""


@dataclass(frozen=True, slots=True)
class Applied:
    """`wal_bytes`: WAL written by a primary or replayed by a replica. `positions` (`term-seq`) by partition."""

    wal_bytes: int
    positions: Mapping[int, str]


def build_applied(rows: list[dict[str, Any]]) -> Applied:
    """From the rows of READ_APPLIED, at least one."""
    positions = {row["partition"]: row["position"] for row in rows if row["partition"] is not None}
    return Applied(wal_bytes=rows[0]["wal_bytes"], positions=positions)
