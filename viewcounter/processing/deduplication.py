"""Exact de-duplication by event id, against the ids that the flush's own transaction will find.

Invariant: a verdict holds for one position of the partition. Ids are loaded in one snapshot together with
the position they belong to, and the flush's compare-and-set misses if the position has changed since, so a
stale verdict is never committed. Nothing is claimed before the write.

An id belongs to one minute (`Columns.id_minutes`), so only the minutes of a batch are compared.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from viewcounter.events.columns import Columns, narrow
from viewcounter.storage.flush_batch import IdBlock


@dataclass(frozen=True, slots=True)
class KnownIds:
    """Ids of one minute that are counted already: `ids` S16 sorted and distinct, `contents` uint64 aligned."""

    ids: NDArray[Any]
    contents: NDArray[np.uint64]

    @classmethod
    def join(cls, parts: "Sequence[KnownIds]") -> "KnownIds":
        """All ids of `parts`, which have no id in common."""
        ids = np.concatenate([part.ids for part in parts])
        order = np.argsort(ids, kind="stable")
        return cls(ids[order], np.concatenate([part.contents for part in parts])[order])


NONE_KNOWN = KnownIds(np.empty(0, dtype="S16"), np.empty(0, dtype=np.uint64))

_Run = tuple[int, int, int]

MINUTES_AT_ONCE = 64
"""Late events may touch every minute of the accept window: the ids of this many minutes are in memory at once."""


class KnownIdSource(Protocol):
    """The known ids as of the position that a batch starts at."""

    def get(self, minutes: Collection[int]) -> Mapping[int, KnownIds]:
        """An entry for each of `minutes`."""

    def add(self, blocks: Sequence[IdBlock]) -> None:
        """Adds the new ids of the batch."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Classification of the rows of a batch: exactly one of the three masks is true for each row.

    The first sight of an id wins; a later row with the same content is a duplicate, with other content a conflict.
    `first_contents` is the content digest of that first sight, for each row.
    """

    new: NDArray[np.bool_]
    duplicate: NDArray[np.bool_]
    conflict: NDArray[np.bool_]
    first_contents: NDArray[np.uint64]
    id_blocks: list[IdBlock]


def deduplicate(columns: Columns, source: KnownIdSource) -> Verdict:
    """Compares each event with the known ids of its minute, and adds the new ids to `source`."""
    minutes, contents = columns.id_minutes(), columns.content_digests()
    order, starts_group = _sort_ids(minutes, columns.id_words())
    sorted_minutes = minutes[order]
    sorted_ids, sorted_contents = columns.event_ids[order], contents[order]
    first = np.flatnonzero(starts_group)
    reference = sorted_contents[first].copy()
    is_known = np.zeros(len(first), dtype=bool)
    blocks = []
    for runs in _cut(_find_runs(sorted_minutes[first]), MINUTES_AT_ONCE):
        known = source.get([minute for minute, _, _ in runs])
        found = [
            _compare_minute(minute, sorted_ids[first[low:high]], reference[low:high], is_known[low:high], known[minute])
            for minute, low, high in runs
        ]
        fresh = [block for block in found if len(block.ids)]
        source.add(fresh)
        blocks += fresh
    group = np.cumsum(starts_group) - 1
    new_sorted = starts_group & ~is_known[group]
    same_content = sorted_contents == reference[group]
    new, duplicate, conflict = (np.empty(len(order), dtype=bool) for _ in range(3))
    new[order] = new_sorted
    duplicate[order] = ~new_sorted & same_content
    conflict[order] = ~new_sorted & ~same_content
    first_contents = np.empty(len(order), dtype=np.uint64)
    first_contents[order] = reference[group]
    return Verdict(new=new, duplicate=duplicate, conflict=conflict, first_contents=first_contents, id_blocks=blocks)


def _sort_ids(minutes: NDArray[np.int64], words: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Rows sorted by minute, id and their own order, and where in that order a new id begins.

    By the first half of the id, which is hardly ever the same for two, then what it left open, then by minute.
    """
    high, low = np.ascontiguousarray(words.T)
    order = np.argsort(high)
    equal_high = high[order[1:]] == high[order[:-1]]
    if equal_high.any():
        open_places = np.append(equal_high, False) | np.append(False, equal_high)
        rows = order[open_places]
        order[open_places] = rows[np.lexsort((rows, low[rows], high[rows]))]
    order = order[np.argsort(narrow(minutes)[order], kind="stable")]
    before, after = order[:-1], order[1:]
    is_other = (high[after] != high[before]) | (low[after] != low[before]) | (minutes[after] != minutes[before])
    return order, np.append(np.ones(min(1, len(order)), dtype=bool), is_other)


def _compare_minute(
    minute: int, ids: NDArray[Any], reference: NDArray[np.uint64], is_known: NDArray[np.bool_], known: KnownIds
) -> IdBlock:
    """Fills `is_known`, and `reference` with the content that each known id had. Returns the new ids."""
    hit, known_contents = _find_known(ids, known)
    is_known[:] = hit
    reference[hit] = known_contents[hit]
    return IdBlock(minute, ids[~hit], reference[~hit])


def merge_block(known: KnownIds, new: KnownIds) -> KnownIds:
    """Merges two sets that have no id in common."""
    if not len(new.ids):
        return known
    if not len(known.ids):
        return new
    places = np.searchsorted(known.ids, new.ids)
    return KnownIds(np.insert(known.ids, places, new.ids), np.insert(known.contents, places, new.contents))


def _cut(runs: "list[_Run]", size: int) -> "Iterator[list[_Run]]":
    remaining = iter(runs)
    while part := list(islice(remaining, size)):
        yield part


def _find_runs(sorted_values: NDArray[np.int64]) -> "list[_Run]":
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
