"""Columns for tests, from readable rows."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from viewcounter.events.columns import Columns
from viewcounter.processing.deduplication import NONE_KNOWN, KnownIds, merge_block
from viewcounter.storage.flush_batch import IdBlock

MINUTE_US = 60_000_000


class Row(NamedTuple):
    """`minute` of a version 4 id's event; `event` numbers the id."""

    event: int
    video: str = "a"
    minute: int = 0
    type_id: int = 1
    value: int = 1000
    viewer: int = 0


def uuid4_of(number: int) -> UUID:
    return UUID(int=(number << 80) | (4 << 76) | (2 << 62) | number)


def build_columns(rows: list[Row]) -> Columns:
    videos = tuple(dict.fromkeys(row.video for row in rows))

    def column(values: list[int], dtype: str) -> Any:
        return np.array(values, dtype=dtype)

    return Columns(
        event_ids=np.array([uuid4_of(row.event).bytes for row in rows], dtype="S16"),
        viewers=column([row.viewer for row in rows], "<i8"),
        occurred_us=column([row.minute * MINUTE_US for row in rows], "<i8"),
        received_us=column([0] * len(rows), "<i8"),
        type_ids=column([row.type_id for row in rows], "<u2"),
        values=column([row.value for row in rows], "<i8"),
        video_index=column([videos.index(row.video) for row in rows], "<u4"),
        videos=videos,
    )


class MemoryIds:
    """A KnownIdSource that starts with nothing and remembers what it is told."""

    def __init__(self) -> None:
        self.minutes: dict[int, KnownIds] = {}
        self.asked: list[list[int]] = []

    def get(self, minutes: Collection[int]) -> dict[int, KnownIds]:
        self.asked.append(list(minutes))
        return {minute: self.minutes.get(minute, NONE_KNOWN) for minute in minutes}

    def add(self, blocks: Sequence[IdBlock]) -> None:
        for block in blocks:
            known = self.minutes.get(block.minute, NONE_KNOWN)
            self.minutes[block.minute] = merge_block(known, KnownIds(block.ids, block.contents))
