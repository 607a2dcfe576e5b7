"""Ranges of a partition's log that its shard never got, as they stand in the partition's state row."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class KnownLoss:
    """Entries past the position `after`, up to and including `through` (both `term-seq`), may be lost. Not
    `is_open`: an operator has accepted that."""

    partition: int
    after: str
    through: str
    found_at: datetime
    is_open: bool


def parse_lost(text: str, *, partition: int) -> tuple[KnownLoss, ...]:
    """Of the column `lost` of `partition_state`: newest first."""
    losses = []
    for part in text.split():
        after, through, found_at, is_open = part.split(",")
        losses.append(KnownLoss(partition, after, through, datetime.fromtimestamp(int(found_at), UTC), is_open == "t"))
    return tuple(losses)
