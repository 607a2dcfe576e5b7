"""What callers get back."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ReadResult:
    """Rows as dicts, who gave them, and the topology epoch that led there."""

    rows: list[dict[str, Any]]
    shard_id: int
    instance: str
    epoch: int


@dataclass(frozen=True, slots=True)
class ScatterResult:
    """By shard id. A shard asked is in exactly one of the two: what is missing is never a silent zero."""

    results: dict[int, ReadResult]
    missing: dict[int, Exception]
