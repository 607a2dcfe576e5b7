"""What a partition's drain knows of ids: those the shard has, and those it has judged but not seen committed.

Invariant: batch k+1 is judged against the ids as of batch k's new position, whether or not k has committed. It is
written only by a compare-and-set on that position, so it stands only on what it was judged against. Where k does not
commit, everything judged after it is thrown away with the partition's ids, and the state is read again.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clusterproxy.plan import Consistency
from viewcounter.processing.deduplication import NONE_KNOWN, KnownIds
from viewcounter.processing.id_cache import IdCache, LoadedIds
from viewcounter.processing.partition_access import PartitionAccess
from viewcounter.storage.errors import PositionMoved
from viewcounter.storage.event_ids import READ_EVENT_IDS, event_ids_parameters
from viewcounter.storage.flush import FlushBatch, IdBlock


@dataclass(frozen=True, slots=True)
class PieceLimits:
    """A minute in more than `max_pieces` of fewer than `small_ids` ids each is worth putting together."""

    max_pieces: int
    small_ids: int


class PartitionIds:
    """The KnownIdSource of one drain, always as of `position`, the end of what it has judged.

    `crowded`: minutes that were read in more pieces than `pieces` allows. `close` forgets the partition unless
    everything that was judged has committed; should it not come to that, the next one of the partition does.
    """

    def __init__(
        self, cache: IdCache, cluster: PartitionAccess, partition: int, *, position: str, pieces: PieceLimits
    ) -> None:
        self._cache = cache
        self._cluster = cluster
        self._partition = partition
        self._pieces = pieces
        self.crowded: set[int] = set()
        self._is_judging = False
        self.position = position
        self._committed = position
        self._ahead: deque[FlushBatch] = deque()  # judged, not known to have committed; consecutive from `_committed`
        cache.open(partition)

    def get(self, minutes: Collection[int]) -> Mapping[int, KnownIds]:
        self._is_judging = True
        return self._cache.get_minutes(self._partition, minutes, position=self.position, load=self._load)

    def add(self, blocks: Sequence[IdBlock]) -> None:
        self._cache.add(self._partition, blocks)

    def move(self, batch: FlushBatch) -> None:
        """`batch` has been judged whole."""
        self._cache.move(self._partition, after=self.position, position=batch.new_position)
        self.position = batch.new_position
        self._ahead.append(batch)
        self._is_judging = False

    def commit(self) -> None:
        """The oldest batch judged ahead has committed as it was judged."""
        self._committed = self._ahead.popleft().new_position

    def close(self) -> None:
        if self._ahead or self._is_judging:
            self._cache.forget(self._partition)
        else:
            self._cache.settle(self._partition)

    def _load(self, held_through: Mapping[int, str | None]) -> dict[int, LoadedIds]:
        """From the shard as it is, and from what we know it will be. Raises PositionMoved, and errors of the shard."""
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
        """The ids judged ahead that a shard at `position` does not have yet."""
        positions = [self._committed, *(batch.new_position for batch in self._ahead)]
        if position not in positions:
            raise PositionMoved(f"partition {self._partition} is at {position}, not at one of {', '.join(positions)}")
        later = list(self._ahead)[positions.index(position) :]
        return [block for batch in later for block in batch.id_blocks]
