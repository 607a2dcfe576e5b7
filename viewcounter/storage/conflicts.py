"""Events that carried the id of a counted event but said something else: kept to be looked at, never counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray

from viewcounter.events.columns import MICROSECONDS_PER_MINUTE, Columns
from viewcounter.events.message import VIDEO_ID_MAX_CHARACTERS
from viewcounter.storage import binary
from viewcounter.storage.dead_letters import clean_text
from viewcounter.storage.named_sql import load_queries
from viewcounter.storage.page_keys import PageKey, place_parameters

_SQL = load_queries("conflicts.sql")

LIST_CONFLICTS = _SQL["list_conflicts"]
"""Parameters: partitions and those of `list_parameters`. Rows as StoredConflict, newest first."""


@dataclass(frozen=True, slots=True)
class Conflicts:
    """`events` in the log's order; `first_contents` is the content digest of the event that came first, for each."""

    events: Columns
    first_contents: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class StoredConflict:
    """A row. `position` is `ms-seq`, the end of the flush that met the event; `value` is thousandths."""

    id: int
    partition: int
    position: str
    event_id: UUID
    video_id: str
    event_type_id: int
    occurred_at: datetime
    value: int
    received_at: datetime
    created_at: datetime

    @property
    def place(self) -> PageKey:
        return PageKey(self.created_at, self.partition, self.id)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


def list_parameters(*, video_id: str | None, before: PageKey | None, limit: int) -> dict[str, Any]:
    """For LIST_CONFLICTS; `partitions` comes from whoever routes it."""
    return {"video_id": video_id, "limit": limit, **place_parameters(before)}


def insert_conflicts(
    connection: psycopg.Connection[Any], conflicts: Conflicts, *, partition: int, position: str
) -> None:
    """Part of the flush that ends at `position`."""
    events = conflicts.events
    if not len(events):
        return
    connection.execute(
        _SQL["insert_conflicts"].text,
        {
            "partition": partition,
            "position": position,
            "event_ids": binary.uuids(events.event_ids),
            "minutes": binary.timestamps(events.id_minutes() * MICROSECONDS_PER_MINUTE),
            "first_contents": [Decimal(digest) for digest in conflicts.first_contents.tolist()],
            "video_ids": binary.texts([_show(events.videos[i]) for i in events.video_index.tolist()]),
            "type_ids": binary.smallints(events.type_ids),
            "occurred": binary.timestamps(events.occurred_us),
            "values": binary.bigints(events.values),
            "received": binary.timestamps(events.received_us),
        },
    )


def _show(video_id: str) -> str:
    """What an index can hold of it; the event itself is in the log no longer."""
    return clean_text(video_id)[:VIDEO_ID_MAX_CHARACTERS]
