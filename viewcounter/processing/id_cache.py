"""Known ids of recent minutes in a worker process: bounded in bytes, kept up when others drain in between."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from viewcounter.processing.deduplication import NONE_KNOWN, KnownIds, merge_block
from viewcounter.storage.flush import IdBlock

BYTES_PER_ID = 24
BYTES_PER_MINUTE = 700
"""What Python needs around the ids of a minute, measured; it counts where minutes hold few ids."""

REMEMBERED_GENERATIONS = 64
"""A minute that was last complete more foreign flushes ago than this is loaded whole."""


class LoadedIds(NamedTuple):
    """Of one minute: `new` ids past the position asked for, and how many ids the shard has up to it."""

    new: KnownIds
    held_count: int


LoadIds = Callable[[Mapping[int, str | None]], dict[int, LoadedIds]]
"""By minute, the position up to which its ids are held (None: none are). Minutes without ids may be missing."""


@dataclass(slots=True)
class _Lineage:
    """A partition's position here. It has another `generation` since somebody else has moved it; `ends` says where the
    earlier ones ended, the newest REMEMBERED_GENERATIONS of them. No number is ever used twice, by whatever partition,
    so a minute that was left behind belongs to no lineage of later."""

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
    """Least recently used minutes go first. Owned by the one thread that judges.

    Invariant: a minute of the current generation is complete as of its partition's `position`; a minute of an
    earlier one as of where that generation ended. `position` may be ahead of the shard while somebody judges ahead,
    from `open` to `settle`. Where that ends before, by an exception anywhere, the next `open` forgets the partition.
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
        """Somebody begins to judge. What was judged before and never known to be committed is forgotten."""
        if partition in self._unsettled:
            self.forget(partition)
        self._unsettled.add(partition)

    def settle(self, partition: int) -> None:
        """Everything that was judged since `open` has been committed."""
        self._unsettled.discard(partition)

    def get_minutes(
        self, partition: int, minutes: Iterable[int], *, position: str, load: LoadIds
    ) -> dict[int, KnownIds]:
        """Known ids of each minute as of `position`; `load` fetches what is not held, as of the same position.

        A minute of which the shard has another number of ids than are held here (it was put back to an older
        state and has gone on from there) is loaded whole.
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
        """Ids that a judged batch will write. Afterwards the cache is within its bound again."""
        lineage = self._lineages[partition]
        for block in blocks:
            before = self._minutes[partition, block.minute].known
            after = merge_block(before, KnownIds(block.ids, block.contents))
            self._put(partition, block.minute, after, lineage)
        while self._bytes > self._max_bytes and self._minutes:
            _, dropped = self._minutes.popitem(last=False)
            self._bytes -= dropped.size_bytes

    def move(self, partition: int, *, after: str, position: str) -> None:
        """The whole batch `(after, position]` has been judged; minutes that it did not touch are complete up to there.

        A batch of dead letters only touches none, so nobody may have asked as of `after` before.
        """
        self._follow(partition, after).position = position

    def forget(self, partition: int) -> None:
        # The lineage first, in one step: what an exception leaves of the minutes is of no generation any more.
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
        """The position as of which the minute is complete here; None when nothing is known of it."""
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


_NOTHING = LoadedIds(NONE_KNOWN, 0)
