"""Keyset pagination of a list over all shards, newest first. The key of a row never changes, so pages that start after
a key neither repeat nor skip a row."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class PageKey:
    """Unique over all shards, since a partition is on one shard only."""

    created_at: datetime
    partition: int
    id: int


def page_parameters(before: PageKey | None) -> dict[str, Any]:
    """Parameters of a statement that lists the rows older than `before`; None: all rows."""
    return {
        "before_at": before.created_at if before else None,
        "before_partition": before.partition if before else None,
        "before_id": before.id if before else None,
    }
