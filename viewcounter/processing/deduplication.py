"""Exact de-duplication by event id, against what the flush's own transaction will find.

Invariant: a verdict holds for one position of the partition. Ids are loaded in one snapshot together with
the position they belong to, and the flush's compare-and-set misses if the position has changed since, so a
stale verdict is never committed. Nothing is claimed before the write.

An id belongs to one minute (`Columns.id_minutes`), so only the minutes of a batch are compared.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viewcounter.events.columns import Columns
from viewcounter.storage.flush import IdBlock

BYTES_PER_ID = 24


@dataclass(frozen=True, slots=True)
class KnownIds:
    """Ids of one minute that are counted already: `ids` S16 sorted and distinct, `contents` uint64 aligned."""

    ids: NDArray[Any]
    contents: NDArray[np.uint64]

    @classmethod
    def join(cls, parts: "Sequence[KnownIds]") -> "KnownIds":
        """All ids of `parts`, which hold no id twice between them."""
        ids = np.concatenate([part.ids for part in parts])
        order = np.argsort(ids, kind="stable")
        return cls(ids[order], np.concatenate([part.contents for part in parts])[order])


NONE_KNOWN = KnownIds(np.empty(0, dtype="S16"), np.empty(0, dtype=np.uint64))

LoadMinutes = Callable[[Collection[int]], dict[int, KnownIds]]


class IdCache:
    """Known ids of recent minutes, least recently used dropped first, bounded in bytes.

    Invariant: a minute that is present is complete as of `position` of its partition; a partition whose
    position is not the one asked for is forgotten whole. Owned by one thread of one worker process.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._minutes: OrderedDict[tuple[int, int], KnownIds] = OrderedDict()
        self._positions: dict[int, str] = {}

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def get_minutes(
        self, partition: int, minutes: Iterable[int], *, position: str, load: LoadMinutes
    ) -> dict[int, KnownIds]:
        """Known ids of each minute as of `position`; `load` fetches those not held, as of the same position."""
        if self._positions.get(partition) != position:
            self.forget(partition)
            self._positions[partition] = position
        wanted = set(minutes)
        missing = {minute for minute in wanted if (partition, minute) not in self._minutes}
        loaded = load(missing) if missing else {}
        known = {m: loaded.get(m, NONE_KNOWN) if m in missing else self._minutes[partition, m] for m in wanted}
        for minute, ids in known.items():
            self._put(partition, minute, ids)
        return known

    def advance(self, partition: int, *, position: str, known: dict[int, KnownIds]) -> None:
        """After a committed flush: `known` holds the touched minutes as of the new position."""
        self._positions[partition] = position
        for minute, ids in known.items():
            self._put(partition, minute, ids)
        while self._bytes > self._max_bytes and self._minutes:
            _, dropped = self._minutes.popitem(last=False)
            self._bytes -= len(dropped.ids) * BYTES_PER_ID

    def forget(self, partition: int) -> None:
        self._positions.pop(partition, None)
        for key in [key for key in self._minutes if key[0] == partition]:
            self._bytes -= len(self._minutes.pop(key).ids) * BYTES_PER_ID

    def _put(self, partition: int, minute: int, ids: KnownIds) -> None:
        previous = self._minutes.pop((partition, minute), None)
        self._bytes += (len(ids.ids) - (len(previous.ids) if previous else 0)) * BYTES_PER_ID
        self._minutes[partition, minute] = ids


@dataclass(frozen=True, slots=True)
class Verdict:
    """What each row of a batch is: exactly one of the three masks is true for each row.

    The first sight of an id wins; a later row with the same content is a duplicate, with other content a conflict.
    """

    new: NDArray[np.bool_]
    duplicate: NDArray[np.bool_]
    conflict: NDArray[np.bool_]
    id_blocks: list[IdBlock]


def judge_batch(columns: Columns, known: dict[int, KnownIds]) -> Verdict:
    """Pure. `known` must hold an entry for each minute of `columns.id_minutes()`."""
    minutes, words, contents = columns.id_minutes(), columns.id_words(), columns.content_digests()
    order = np.lexsort((words[:, 1], words[:, 0], minutes))
    sorted_minutes, sorted_words = minutes[order], words[order]
    sorted_ids, sorted_contents = columns.event_ids[order], contents[order]
    starts_group = np.ones(len(order), dtype=bool)
    starts_group[1:] = (sorted_minutes[1:] != sorted_minutes[:-1]) | (sorted_words[1:] != sorted_words[:-1]).any(axis=1)
    first = np.flatnonzero(starts_group)
    reference = sorted_contents[first].copy()
    is_known = np.zeros(len(first), dtype=bool)
    first_minutes = sorted_minutes[first]
    blocks = []
    for minute, low, high in _find_runs(first_minutes):
        ids = sorted_ids[first[low:high]]
        hit, known_contents = _find_known(ids, known[minute])
        is_known[low:high] = hit
        reference[low:high][hit] = known_contents[hit]
        if not hit.all():
            blocks.append(IdBlock(minute, ids[~hit], reference[low:high][~hit]))
    group = np.cumsum(starts_group) - 1
    new_sorted = starts_group & ~is_known[group]
    same_content = sorted_contents == reference[group]
    new, duplicate, conflict = (np.empty(len(order), dtype=bool) for _ in range(3))
    new[order] = new_sorted
    duplicate[order] = ~new_sorted & same_content
    conflict[order] = ~new_sorted & ~same_content
    return Verdict(new=new, duplicate=duplicate, conflict=conflict, id_blocks=blocks)


def merge_known(known: dict[int, KnownIds], blocks: Iterable[IdBlock]) -> dict[int, KnownIds]:
    """What is known once a flush with these blocks has committed."""
    return known | {
        block.minute: KnownIds.join([known[block.minute], KnownIds(block.ids, block.contents)]) for block in blocks
    }


def _find_runs(sorted_values: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """(value, start, end) of each run of equal values."""
    edges = np.flatnonzero(np.diff(sorted_values)) + 1
    starts, ends = [0, *edges.tolist()], [*edges.tolist(), len(sorted_values)]
    return [(int(sorted_values[s]), s, e) for s, e in zip(starts, ends, strict=True)] if len(sorted_values) else []


def _find_known(ids: NDArray[Any], known: KnownIds) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
    """Which of `ids` are known, and the content each known one had (0 elsewhere)."""
    if not len(known.ids):
        return np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=np.uint64)
    place = np.minimum(np.searchsorted(known.ids, ids), len(known.ids) - 1)
    hit = known.ids[place] == ids
    return hit, np.where(hit, known.contents[place], np.uint64(0))
