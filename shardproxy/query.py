"""A named SQL statement with its query class, which decides the time budget and the priority of the statement."""

from dataclasses import dataclass
from enum import StrEnum


class QueryClass(StrEnum):
    POINT = "point"
    """Reads of one video that return few rows."""
    RANGE = "range"
    """Reads of one video over many buckets."""
    REPORT = "report"
    """Reads over many videos or partitions: top videos, channels, cluster-wide reads."""
    FLUSH = "flush"
    """Flush transactions, and the statements that they depend on."""
    MAINTENANCE = "maintenance"
    """Rollups, retention, recount, catalogue."""


@dataclass(frozen=True, slots=True)
class Query:
    """`text` uses psycopg's named parameters, `%(name)s`; `name` labels metrics and logs.

    `binary` requests rows in binary format, which halves the size of `bytea` and avoids decoding it.
    """

    name: str
    text: str
    query_class: QueryClass
    binary: bool = False
