"""Where a row stands in a list over all shards, newest first. The place of a row never changes, so pages that begin
behind a place neither repeat nor skip one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class PageKey:
    """A partition is on one shard only, so no two rows share a place."""

    created_at: datetime
    partition: int
    id: int


def place_parameters(before: PageKey | None) -> dict[str, Any]:
    """Of a statement that lists the rows older than `before`; all of them for None."""
    return {
        "before_at": before.created_at if before else None,
        "before_partition": before.partition if before else None,
        "before_id": before.id if before else None,
    }
