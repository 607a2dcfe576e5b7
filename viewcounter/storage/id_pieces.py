"""Merges small pieces of ids: each flush that has ids of a minute stores them as a piece of that minute.

Invariant: a piece holds the ids of flushes up to its `position` and of no later one. So a cache that holds a minute as
of an earlier position finds fewer ids up to there than it holds, and reads the minute whole. The flush of each id is
kept.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import psycopg

from viewcounter.events.columns import MICROSECONDS_PER_MINUTE
from viewcounter.storage import binary
from viewcounter.storage.named_sql import load_queries
from viewcounter.storage.partitions import OWNED
from viewcounter.storage.rollup import lock_rollup

_SQL = load_queries("id_pieces.sql")


def merge_id_pieces(
    connection: psycopg.Connection[Any], partition: int, minutes: Collection[int], *, epoch: int, small_ids: int
) -> int:
    """Merge the pieces with fewer than `small_ids` ids of each of these minutes (since 1970 UTC). Returns the number of
    deleted pieces.

    Merges nothing of a partition that is not owned here at this epoch, or that is being moved: its mover compares rows.
    """
    state = lock_rollup(connection, partition)
    if state.state != OWNED or state.epoch != epoch or state.is_being_moved:
        return 0
    parameters = {
        "partition": partition,
        "minutes": binary.timestamps(np.array(sorted(minutes), dtype=np.int64) * MICROSECONDS_PER_MINUTE),
        "small_ids": small_ids,
    }
    [row] = connection.execute(_SQL["merge_small_pieces"].text, parameters).fetchall()
    return int(row["gone"])
