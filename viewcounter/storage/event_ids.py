"""Reads the ids that a drain compares with, together with the state row of their partition."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from viewcounter.events.columns import MICROSECONDS_PER_MINUTE
from viewcounter.storage import binary
from viewcounter.storage.named_sql import load_queries

READ_EVENT_IDS = replace(load_queries("partitions.sql")["read_event_ids"], binary=True)
"""Parameters: those of `event_ids_parameters`. Rows: position, minute, id_count; after the given position also ids and
contents. One row without a minute if the shard has none of the minutes."""


def event_ids_parameters(partition: int, held_through: Mapping[int, str | None]) -> dict[str, Any]:
    """Parameters of READ_EVENT_IDS. `held_through`: by minute since 1970 UTC, the position up to which its ids are
    cached, if any."""
    minutes = sorted(held_through)
    starts = np.array(minutes, dtype=np.int64) * MICROSECONDS_PER_MINUTE
    return {
        "partition": partition,
        "minutes": binary.timestamps(starts),
        "held_through": [held_through[minute] for minute in minutes],
    }
