"""Whatever happens in whatever order: an answer is one that its shard could have given within the last second.

Two processes share a cache. Between a reader's snapshot and the moment its answer is kept anything else may happen, so
late fills, corrections that overtake them and shards that go down are all in it.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from shardproxy.errors import InstanceUnavailable
from tests.tiers import scale_examples
from tests.unit.cache.builders import DOWN, NOW, SETTINGS, FakeShared, FunctionRead, loaded, make_cache
from viewcounter.cache.read_cache import Origin

TENTHS = 10
"""Time is counted in tenths of a second, so that it can be compared exactly."""
FRESH = 1 * TENTHS
KNOWN = 5
STALE = 30 * TENTHS
WINDOW_END = 10
CACHE_SETTINGS = replace(SETTINGS, fresh_seconds=FRESH / TENTHS, stale_seconds=STALE / TENTHS)


@dataclass(frozen=True)
class Snapshot:
    """The window [.., WINDOW_END) as the shard has it. Events before `admits_since` are not counted any more."""

    at: int
    count: int
    admits_since: int
    generation: int

    @property
    def is_closed(self):
        return self.admits_since >= WINDOW_END


class World:
    """One partition's history, two processes, and a board of generations in each that is up to KNOWN old."""

    def __init__(self, *, is_closed):
        self.now = 0
        self.history = [Snapshot(0, 0, WINDOW_END if is_closed else 0, 0)]
        self.is_down = False
        self.shared = FakeShared()
        self.caches = [make_cache(self.shared, CACHE_SETTINGS) for _ in range(2)]
        self.boards = [None, None]
        self.script = []
        self.reading = set()

    @property
    def newest(self):
        return self.history[-1]

    def act(self, action, number):
        match action:
            case "wait":
                self.now += number
            case "flush" if self.newest.admits_since <= number:
                happened_in_window = number < WINDOW_END
                self.write(count=self.newest.count + happened_in_window)
            case "retain":
                self.write(admits_since=max(self.newest.admits_since, number))
            case "recount":
                self.write(count=self.newest.count + number - 5, generation=len(self.history))
            case "break" | "mend":
                self.is_down = action == "break"
            case "cache":
                self.shared.is_dead = not self.shared.is_dead
            case "read" if number not in self.reading:  # a second reader of a process would wait for the first
                self.reading.add(number)
                self.read(number)

    def write(self, **changes):
        if not self.is_down:
            self.history.append(replace(self.newest, at=self.now, **changes))

    def read(self, process):
        asked_at = self.now
        request = FunctionRead(
            keys=["window"],
            function=lambda _: {"window": self.load()},
            find_generation_in_force=lambda: self.get_generation(process),
        )
        try:
            result = self.caches[process].fetch(request, now=NOW + timedelta(seconds=asked_at / TENTHS))["window"]
        except InstanceUnavailable:
            assert self.is_down
            return
        finally:
            self.reading.discard(process)
        is_stale = result.origin is Origin.STALE
        assert self.is_down or not is_stale
        age = STALE if is_stale else max(FRESH, KNOWN)
        assert result.rows[0]["count"] in self.list_counts(since=asked_at - age)

    def load(self):
        """The snapshot, and then whatever happens before the reader has its rows."""
        if self.is_down:
            raise DOWN
        seen = self.newest
        if self.script:
            self.act(*self.script.pop(0))
        return loaded({"count": seen.count}, generation=seen.generation if seen.is_closed else None)

    def get_generation(self, process):
        board = self.boards[process]
        if board is None or self.now - board[0] > KNOWN:
            if self.is_down:
                return None
            board = self.boards[process] = (self.now, self.newest.generation)
        return board[1]

    def list_counts(self, *, since):
        """Everything that the shard could have answered at `since` or later."""
        first = max((n for n, snapshot in enumerate(self.history) if snapshot.at < since), default=0)
        return {snapshot.count for snapshot in self.history[first:]}


ACTIONS = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 1)),
    st.tuples(st.just("read"), st.integers(0, 1)),
    st.tuples(st.just("wait"), st.integers(0, 12)),
    st.tuples(st.just("flush"), st.integers(0, 15)),
    st.tuples(st.just("retain"), st.integers(0, 15)),
    st.tuples(st.just("recount"), st.integers(0, 10)),
    st.tuples(st.sampled_from(["break", "mend", "cache"]), st.just(0)),
)


@settings(max_examples=scale_examples(300), deadline=None)
@given(is_closed=st.booleans(), script=st.lists(ACTIONS, min_size=15, max_size=60))
def test_an_answer_is_one_that_the_shard_could_have_given_a_moment_ago(is_closed, script):
    world = World(is_closed=is_closed)
    world.script = script
    while world.script:
        world.act(*world.script.pop(0))
