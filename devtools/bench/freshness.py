"""Time from a post until every copy of its shards counts its events.

Each 202 names the log positions of its events, and each copy the positions that it has applied, in the same snapshot as
its counts. So no probe is needed: a post is visible when every instance of the shards of its partitions has reached its
positions; every later query on any of them counts it.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import msgspec

from devtools.bench.errors import NeverVisible
from devtools.bench.http_load import HttpAnswer
from devtools.localcluster import LocalCluster
from devtools.localcluster.errors import LocalClusterError
from devtools.localcluster.postgres import PostgresServer
from viewcounter.eventlog.interface import Position

POLL_SECONDS = 0.05
"""Maximum error of a time; polling costs the servers a few percent of a core."""
STOP_SECONDS = 10.0
_READ_POSITIONS = "SELECT partition, position, xmin::text::bigint FROM partition_state WHERE state = 'owned'"


class _Posted(msgspec.Struct):
    """The body of a 202, as far as it is read."""

    accepted: int
    rejected: int
    positions: dict[str, str]


_decoder = msgspec.json.Decoder(_Posted)


@dataclass(frozen=True, slots=True)
class Post:
    """`due_at` as of `time.perf_counter`; `positions` by partition."""

    due_at: float
    event_count: int
    positions: dict[int, Position]


@dataclass(slots=True)
class HistoryFreshness:
    """Positions of one partition on one instance, ascending, and when each was first seen."""

    positions: list[Position] = field(default_factory=list)
    seen_at: list[float] = field(default_factory=list)

    def add(self, position: Position, now: float) -> bool:
        """Whether it has advanced."""
        if self.positions and position <= self.positions[-1]:
            return False
        self.positions.append(position)
        self.seen_at.append(now)
        return True

    def find_seen_at(self, position: Position) -> float | None:
        """When a position at or after this one was first seen."""
        number = bisect_left(self.positions, position)
        return self.seen_at[number] if number < len(self.positions) else None


Histories = Mapping[int, Sequence[HistoryFreshness]]
"""Histories by partition, one for each instance of its shard."""


def parse_posts(answers: Iterable[HttpAnswer]) -> list[Post]:
    posts = []
    for answer in answers:
        said = _decoder.decode(answer.body)
        positions = {int(partition): Position.parse(text) for partition, text in said.positions.items()}
        posts.append(Post(answer.due_at, said.accepted, positions))
    return posts


def find_visible_at(post: Post, histories: Histories) -> float | None:
    """None while an instance has not reached the position."""
    latest = 0.0
    for partition, position in post.positions.items():
        for history in histories[partition]:
            seen_at = history.find_seen_at(position)
            if seen_at is None:
                return None
            latest = max(latest, seen_at)
    return latest


class SeenPositions:
    """Histories by partition and instance, and transactions that moved positions by shard and id. Used by one thread at
    a time."""

    def __init__(self) -> None:
        self.histories: dict[int, dict[str, HistoryFreshness]] = {}
        self._moved_at: dict[tuple[str, int], float] = {}

    def add(self, shard: str, instance: str, rows: Iterable[tuple[int, str, int]], now: float) -> None:
        """Rows of (partition, position, xmin). xmin is the transaction that wrote the row, on every copy of a shard."""
        for partition, text, transaction in rows:
            history = self.histories.setdefault(partition, {}).setdefault(instance, HistoryFreshness())
            if history.add(Position.parse(text), now):
                self._moved_at.setdefault((shard, transaction), now)

    def count_flushes(self, *, since: float, until: float) -> int:
        """Transactions that moved positions, first seen between these times: flushes at least, since a poll sees only
        the last one of each partition."""
        return sum(since <= at <= until for at in self._moved_at.values())


class PositionWatch:
    """Polls the positions of every instance, in one thread each, while the context lasts."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # guards what follows
        self._seen = SeenPositions()
        self._failure: str | None = None
        self._copies = 1 + cluster.spec.replicas_per_shard
        self._threads = [
            threading.Thread(target=self._watch, args=(shard, server), daemon=True)
            for shard, servers in cluster.layout.shards.items()
            for server in servers
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def wait_visible(self, posts: Sequence[Post], *, within_seconds: float) -> list[float]:
        """The time at which each post became visible. Raises NeverVisible."""
        deadline = time.monotonic() + within_seconds
        ends = _find_ends(posts)
        while True:
            with self._lock:
                if self._failure is not None:
                    raise NeverVisible(self._failure)
                if self._has_reached(ends):
                    histories = self._list_histories()
                    found = [find_visible_at(post, histories) for post in posts]
                    return [at for at in found if at is not None]
            if time.monotonic() >= deadline:
                raise NeverVisible(f"not all events were visible on every copy within {within_seconds:.0f} s")
            time.sleep(POLL_SECONDS)

    def count_flushes(self, *, since: float, until: float) -> int:
        """Between two values of `time.perf_counter`; see SeenPositions."""
        with self._lock:
            return self._seen.count_flushes(since=since, until=until)

    def _list_histories(self) -> Histories:
        return {partition: list(each.values()) for partition, each in self._seen.histories.items()}

    def _has_reached(self, ends: Post) -> bool:
        is_known = all(len(self._seen.histories.get(partition, {})) == self._copies for partition in ends.positions)
        return is_known and find_visible_at(ends, self._list_histories()) is not None

    def _watch(self, shard: str, server: PostgresServer) -> None:
        try:
            with server.session() as connection:
                while not self._stopping.wait(POLL_SECONDS):
                    rows = connection.execute(_READ_POSITIONS).fetchall()
                    now = time.perf_counter()
                    with self._lock:
                        self._seen.add(shard, server.name, rows, now)
        except LocalClusterError as error:
            with self._lock:
                self._failure = f"{server.name} no longer answers with its positions: {error}"


def _find_ends(posts: Iterable[Post]) -> Post:
    """One post that is visible when all of them are."""
    ends: dict[int, Position] = {}
    for post in posts:
        for partition, position in post.positions.items():
            ends[partition] = max(ends.get(partition, position), position)
    return Post(0.0, 0, ends)
