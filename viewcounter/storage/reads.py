"""Read statements of a shard, and the partition state in each of their rows.

Every row carries the state columns of its partition, so an answer knows from the same snapshot which events it holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from viewcounter.storage.lost_ranges import KnownLoss, parse_lost
from viewcounter.storage.named_sql import load_queries
from viewcounter.storage.partitions import ELSEWHERE

_reads = load_queries("reads.sql")

COUNTS_OF_VIDEO = _reads["counts_of_video"]
COUNTS_OF_VIDEOS = _reads["counts_of_videos"]
TOTAL_OF_VIDEO = _reads["total_of_video"]
TOP_OF_ALL_TIME = _reads["top_of_all_time"]


@dataclass(frozen=True, slots=True)
class Seen:
    """State of one partition in a read: it holds all events up to `position`, and is complete up to `watermark`.

    `losses`: of the log, of which it has no entries, newest first.
    """

    epoch: int
    position: str
    watermark: datetime
    losses: tuple[KnownLoss, ...] = ()

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self | None:
        """None if the shard that answered does not hold the partition (not adopted yet, incoming or moved away)."""
        if row["state"] is None or row["state"] in ELSEWHERE:
            return None
        losses = parse_lost(row["lost"], partition=row["partition"]) if row["lost"] else ()
        return cls(epoch=row["epoch"], position=row["position"], watermark=row["watermark"], losses=losses)
