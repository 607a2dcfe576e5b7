"""Conflicts: events with the id of a counted event but other content. Stored for operators, never counted."""

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
from viewcounter.storage.page_keys import PageKey, page_parameters

_SQL = load_queries("conflicts.sql")

LIST_CONFLICTS = _SQL["list_conflicts"]
"""Parameters: partitions and those of `list_parameters`. Rows as StoredConflict, newest first."""


@dataclass(frozen=True, slots=True)
class Conflicts:
    """`events` in the log's order. `first_contents`: for each, the content digest of the event that was counted."""

    events: Columns
    first_contents: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class StoredConflict:
    """A row. `position` (`term-seq`): end of the flush that read the event. `value` in thousandths."""

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
    """Parameters of LIST_CONFLICTS except `partitions`, which the router of the query adds."""
    return {"video_id": video_id, "limit": limit, **page_parameters(before)}


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
    """The part that fits into an index entry. The event itself may be trimmed from the log."""
    return clean_text(video_id)[:VIDEO_ID_MAX_CHARACTERS]
