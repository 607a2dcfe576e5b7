"""Known event ids of a partition as of a position: cached per minute, loaded from the shard, extended by each batch.

Invariant: batch k+1 is compared with the ids as of batch k's new position, whether or not k has committed. It is
written only by a compare-and-set on that position, so it commits only on top of the ids that it was compared with.
Where k does not commit, all later verdicts are discarded with the partition's ids, and the state is read again.
"""

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np

from clusterproxy.plan import Consistency
from viewcounter.processing.deduplication import NONE_KNOWN, KnownIds, merge_block
from viewcounter.processing.partition_access import PartitionAccess
from viewcounter.processing.settings import PieceLimits
from viewcounter.storage.errors import PositionMoved
from viewcounter.storage.flush import READ_EVENT_IDS, event_ids_parameters
from viewcounter.storage.flush_batch import FlushBatch, IdBlock

BYTES_PER_ID = 24
BYTES_PER_MINUTE = 700
"""Measured memory of a minute besides its ids; it matters where minutes hold few ids."""

REMEMBERED_GENERATIONS = 64
"""A minute that is older than this many flushes of other processes is loaded whole."""


class LoadedIds(NamedTuple):
    """Of one minute: the `new` ids past the requested position, and the number of ids that the shard has up to it."""

    new: KnownIds
    held_count: int


_NOTHING = LoadedIds(NONE_KNOWN, 0)

LoadIds = Callable[[Mapping[int, str | None]], dict[int, LoadedIds]]
"""Called with the position up to which the ids of each minute are cached (None: not cached). Minutes without ids may be
missing from the result."""


@dataclass(slots=True)
class _Lineage:
    """A partition's cached position. The `generation` changes whenever another process has moved the partition; `ends`
    has the last position of earlier generations, the newest REMEMBERED_GENERATIONS of them. No number is used twice,
    not even by different partitions, so a minute of a forgotten lineage never matches a later one."""

    position: str
    generation: int
    ends: OrderedDict[int, str]


class _Minute(NamedTuple):
    known: KnownIds
    generation: int

    @property
    def size_bytes(self) -> int:
        return BYTES_PER_MINUTE + len(self.known.ids) * BYTES_PER_ID


class IdCache:
    """Ids of recent minutes in a worker process, bounded in bytes; evicts the least recently used minute first. Owned
    by the one thread that de-duplicates.

    Invariant: a minute of the current generation is complete as of its partition's `position`; a minute of an
    earlier one as of the end of that generation. `position` may be ahead of the shard from `open` to `settle`, while
    batches are compared before earlier ones have committed. If an exception prevents `settle`, the next `open` forgets
    the partition.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._minutes: OrderedDict[tuple[int, int], _Minute] = OrderedDict()
        self._lineages: dict[int, _Lineage] = {}
        self._generations = count()
        self._unsettled: set[int] = set()

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def open(self, partition: int) -> None:
        """A drain begins. Ids of an earlier drain that were never confirmed as committed are forgotten."""
        if partition in self._unsettled:
            self.forget(partition)
        self._unsettled.add(partition)

    def settle(self, partition: int) -> None:
        """Every batch since `open` has committed."""
        self._unsettled.discard(partition)

    def get_minutes(
        self, partition: int, minutes: Iterable[int], *, position: str, load: LoadIds
    ) -> dict[int, KnownIds]:
        """Known ids of each minute as of `position`; `load` fetches those that are not cached, as of that position.

        A minute whose number of ids differs between shard and cache is loaded whole: the shard was restored to an older
        state and has moved on from there.
        """
        lineage = self._follow(partition, position)
        wanted = list(minutes)
        held_through = {m: end for m in wanted if (end := self._find_end(partition, m, lineage)) != position}
        loaded = load(held_through) if held_through else {}
        unlike = {
            m: None
            for m, end in held_through.items()
            if end is not None and self._count(partition, m) != loaded.get(m, _NOTHING).held_count
        }
        loaded |= load(unlike) if unlike else {}
        for minute, end in held_through.items():
            new = loaded.get(minute, _NOTHING).new
            before = NONE_KNOWN if end is None or minute in unlike else self._minutes[partition, minute].known
            self._put(partition, minute, merge_block(before, new), lineage)
        known = {}
        for minute in wanted:
            self._minutes.move_to_end((partition, minute))
            known[minute] = self._minutes[partition, minute].known
        return known

    def add(self, partition: int, blocks: Iterable[IdBlock]) -> None:
        """Adds the new ids of a batch, then evicts down to the bound."""
        lineage = self._lineages[partition]
        for block in blocks:
            before = self._minutes[partition, block.minute].known
            after = merge_block(before, KnownIds(block.ids, block.contents))
            self._put(partition, block.minute, after, lineage)
        while self._bytes > self._max_bytes and self._minutes:
            _, dropped = self._minutes.popitem(last=False)
            self._bytes -= dropped.size_bytes

    def move(self, partition: int, *, after: str, position: str) -> None:
        """The whole batch `(after, position]` is compared; minutes that it does not touch are complete up to there.

        A batch with nothing but dead letters touches none, so `get_minutes` may not have been called as of `after`.
        """
        self._follow(partition, after).position = position

    def forget(self, partition: int) -> None:
        # The lineage first, in one step: minutes that an exception leaves behind match no generation.
        self._lineages.pop(partition, None)
        for key in [key for key in self._minutes if key[0] == partition]:
            del self._minutes[key]
        self._bytes = sum(minute.size_bytes for minute in self._minutes.values())

    def _follow(self, partition: int, position: str) -> _Lineage:
        lineage = self._lineages.get(partition)
        if lineage is None:
            lineage = self._lineages[partition] = _Lineage(position, next(self._generations), OrderedDict())
        elif lineage.position != position:
            lineage.ends[lineage.generation] = lineage.position
            if len(lineage.ends) > REMEMBERED_GENERATIONS:
                lineage.ends.popitem(last=False)
            lineage.generation = next(self._generations)
            lineage.position = position
        return lineage

    def _find_end(self, partition: int, minute: int, lineage: _Lineage) -> str | None:
        """The position as of which the minute is complete in the cache; None if it is not cached."""
        held = self._minutes.get((partition, minute))
        if held is None:
            return None
        return lineage.position if held.generation == lineage.generation else lineage.ends.get(held.generation)

    def _count(self, partition: int, minute: int) -> int:
        return len(self._minutes[partition, minute].known.ids)

    def _put(self, partition: int, minute: int, known: KnownIds, lineage: _Lineage) -> None:
        previous = self._minutes.pop((partition, minute), None)
        entry = self._minutes[partition, minute] = _Minute(known, lineage.generation)
        self._bytes += entry.size_bytes - (previous.size_bytes if previous else 0)


class PartitionIds:
    """The KnownIdSource of one drain, always as of `position`, the end of its newest compared batch.

    `crowded`: minutes that were read in more pieces than `pieces` allows. `close` forgets the partition unless
    every compared batch has committed; if `close` is not reached, the partition's next drain forgets it.
    """

    def __init__(
        self, cache: IdCache, cluster: PartitionAccess, partition: int, *, position: str, pieces: PieceLimits
    ) -> None:
        self._cache = cache
        self._cluster = cluster
        self._partition = partition
        self._pieces = pieces
        self.crowded: set[int] = set()
        self._is_comparing = False
        self.position = position
        self._committed = position
        self._ahead: deque[FlushBatch] = deque()  # compared, not known to have committed; consecutive from `_committed`
        cache.open(partition)

    def get(self, minutes: Collection[int]) -> Mapping[int, KnownIds]:
        self._is_comparing = True
        return self._cache.get_minutes(self._partition, minutes, position=self.position, load=self._load)

    def add(self, blocks: Sequence[IdBlock]) -> None:
        self._cache.add(self._partition, blocks)

    def move(self, batch: FlushBatch) -> None:
        """`batch` is compared whole."""
        self._cache.move(self._partition, after=self.position, position=batch.new_position)
        self.position = batch.new_position
        self._ahead.append(batch)
        self._is_comparing = False

    def commit(self) -> None:
        """The oldest uncommitted batch has committed unchanged."""
        self._committed = self._ahead.popleft().new_position

    def close(self) -> None:
        if self._ahead or self._is_comparing:
            self._cache.forget(self._partition)
        else:
            self._cache.settle(self._partition)

    def _load(self, held_through: Mapping[int, str | None]) -> dict[int, LoadedIds]:
        """From the shard and the batches that it will get. Raises PositionMoved, and errors of the shard."""
        result = self._cluster.read(
            self._partition,
            READ_EVENT_IDS,
            event_ids_parameters(self._partition, held_through),
            consistency=Consistency.STRONG,
        )
        later = self._find_later(result.rows[0]["position"] if result.rows else "nowhere")
        new: defaultdict[int, list[KnownIds]] = defaultdict(list)
        held_counts: defaultdict[int, int] = defaultdict(int)
        small_pieces: Counter[int] = Counter()
        for row in result.rows:
            if row["minute"] is None:
                continue
            minute = int(row["minute"].timestamp()) // 60
            small_pieces[minute] += row["id_count"] < self._pieces.small_ids
            if row["ids"] is None:
                held_counts[minute] += row["id_count"]
            else:
                ids = np.frombuffer(row["ids"], dtype="S16")
                new[minute].append(KnownIds(ids, np.frombuffer(row["contents"], dtype="<u8")))
        self.crowded.update(minute for minute, count in small_pieces.items() if count > self._pieces.max_pieces)
        for block in later:
            if block.minute in held_through:
                new[block.minute].append(KnownIds(block.ids, block.contents))
        return {
            minute: LoadedIds(KnownIds.join(new[minute]) if new[minute] else NONE_KNOWN, held_counts[minute])
            for minute in held_through
        }

    def _find_later(self, position: str) -> Iterable[IdBlock]:
        """New ids of uncommitted batches that a shard at `position` does not have yet."""
        positions = [self._committed, *(batch.new_position for batch in self._ahead)]
        if position not in positions:
            raise PositionMoved(f"partition {self._partition} is at {position}, not at one of {', '.join(positions)}")
        later = list(self._ahead)[positions.index(position) :]
        return [block for batch in later for block in batch.id_blocks]
