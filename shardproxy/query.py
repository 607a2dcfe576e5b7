"""A named statement with its class. The class decides the statement's time budget and, later, who is shed."""

from dataclasses import dataclass
from enum import StrEnum


class QueryClass(StrEnum):
    POINT = "point"
    """One video, few rows: a reader waits for it."""
    RANGE = "range"
    """One video, many buckets."""
    REPORT = "report"
    """Many videos or partitions: top, channel and cluster-wide questions."""
    FLUSH = "flush"
    """The transaction that counts, and what keeps it possible."""
    MAINTENANCE = "maintenance"
    """Rollups, retention, recount, catalogue."""


@dataclass(frozen=True, slots=True)
class Query:
    """`text` uses psycopg's named parameters, `%(name)s`; `name` labels metrics and logs.

    `binary` has the rows sent in binary, which halves `bytea` and spares its decoding.
    """

    name: str
    text: str
    query_class: QueryClass
    binary: bool = False
