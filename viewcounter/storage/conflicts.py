"""Events that carried the id of a counted event but said something else: kept to be looked at, never counted."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from viewcounter.events.columns import MICROSECONDS_PER_MINUTE, Columns
from viewcounter.storage import binary
from viewcounter.storage.dead_letters import clean_text
from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("conflicts.sql")

READ_CONFLICTS = _SQL["read_conflicts"]
"""Parameters: partition, before (id, or null for the newest), limit. Rows newest first."""


@dataclass(frozen=True, slots=True)
class Conflicts:
    """`events` in the log's order; `first_contents` is the content digest of the event that came first, for each."""

    events: Columns
    first_contents: NDArray[np.uint64]


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
            "video_ids": binary.texts([clean_text(events.videos[i]) for i in events.video_index.tolist()]),
            "type_ids": binary.smallints(events.type_ids),
            "occurred": binary.timestamps(events.occurred_us),
            "values": binary.bigints(events.values),
            "received": binary.timestamps(events.received_us),
        },
    )
