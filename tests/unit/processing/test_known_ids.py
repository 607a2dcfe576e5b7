"""The id cache: bounded, and complete as of the requested position, whichever process drained in between."""

import gc
import sys
import tracemalloc
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiers import scale_examples
from tests.unit.processing.builders import Row, build_columns
from viewcounter.processing import known_ids
from viewcounter.processing.deduplication import NONE_KNOWN, KnownIds, deduplicate, merge_block
from viewcounter.processing.known_ids import BYTES_PER_ID, BYTES_PER_MINUTE, IdCache, LoadedIds
from viewcounter.storage.flush_batch import IdBlock

PARTITION = 7


def ids_of(*numbers):
    columns = build_columns([Row(number) for number in sorted(numbers)])
    return KnownIds(columns.event_ids, columns.content_digests())


def numbers_in(known):
    return {int.from_bytes(bytes(i).ljust(16, b"\0")[-8:]) & 0xFFFF for i in known.ids}


class Shard:
    """What a shard would answer: rows (position, minute, ids), all of them up to `position`."""

    def __init__(self):
        self.rows = []
        self.position = 0
        self.loads = []

    def flush(self, minutes):
        self.position += 1
        for minute, numbers in minutes.items():
            self.rows.append((self.position, minute, ids_of(*numbers)))

    def load(self, held_through):
        self.loads.append(dict(held_through))
        loaded = {}
        for minute, through in held_through.items():
            end = -1 if through is None else int(through)
            rows = [row for row in self.rows if row[1] == minute]
            new = [ids for position, _, ids in rows if position > end]
            held = sum(len(ids.ids) for position, _, ids in rows if position <= end)
            loaded[minute] = LoadedIds(KnownIds.join(new) if new else NONE_KNOWN, held)
        return loaded

    def get(self, cache, minutes):
        return cache.get_minutes(PARTITION, minutes, position=str(self.position), load=self.load)

    def count(self, minute):
        return sum(len(ids.ids) for _, m, ids in self.rows if m == minute)


def deduplicate_and_flush(shard, cache, minutes):
    """As a drain does: get, add, and the shard moves with it."""
    before = str(shard.position)
    shard.get(cache, list(minutes))
    cache.add(PARTITION, [IdBlock(m, ids_of(*n).ids, ids_of(*n).contents) for m, n in minutes.items()])
    shard.flush(minutes)
    cache.move(PARTITION, after=before, position=str(shard.position))


def test_a_minute_is_loaded_once_while_only_this_process_drains():
    shard, cache = Shard(), IdCache(max_bytes=100_000)
    deduplicate_and_flush(shard, cache, {1: [1, 2], 2: [3]})
    deduplicate_and_flush(shard, cache, {2: [4], 3: [5]})
    known = shard.get(cache, [1, 2, 3])
    assert {minute: numbers_in(ids) for minute, ids in known.items()} == {1: {1, 2}, 2: {3, 4}, 3: {5}}
    assert shard.loads == [{1: None, 2: None}, {3: None}]


def test_only_what_others_added_is_loaded_after_a_foreign_flush():
    shard, cache = Shard(), IdCache(max_bytes=100_000)
    deduplicate_and_flush(shard, cache, {1: [1, 2], 2: [3]})
    shard.flush({1: [4]})
    assert numbers_in(shard.get(cache, [1])[1]) == {1, 2, 4}
    shard.flush({1: [5]})
    assert {m: numbers_in(i) for m, i in shard.get(cache, [1, 2]).items()} == {1: {1, 2, 4, 5}, 2: {3}}
    assert shard.loads == [{1: None, 2: None}, {1: "1"}, {1: "2", 2: "1"}]


def test_a_batch_that_touches_no_minute_does_not_hide_what_others_added_before_it():
    shard, cache = Shard(), IdCache(max_bytes=100_000)
    deduplicate_and_flush(shard, cache, {1: [1]})
    shard.flush({1: [2]})
    cache.move(PARTITION, after="2", position="3")
    shard.flush({})
    assert numbers_in(shard.get(cache, [1])[1]) == {1, 2}


def test_a_minute_is_loaded_whole_when_the_shard_went_back_and_on_again():
    shard, cache = Shard(), IdCache(max_bytes=100_000)
    deduplicate_and_flush(shard, cache, {1: [1]})
    deduplicate_and_flush(shard, cache, {1: [2]})
    shard.rows.pop()  # the shard is put back; another drain applies the same log, cut in another place
    shard.flush({1: [2, 3]})
    assert numbers_in(shard.get(cache, [1])[1]) == {1, 2, 3}


def test_what_was_judged_ahead_is_gone_once_the_partition_is_forgotten():
    shard, cache = Shard(), IdCache(max_bytes=100_000)
    shard.get(cache, [1])
    cache.add(PARTITION, [IdBlock(1, ids_of(9).ids, ids_of(9).contents)])
    cache.forget(PARTITION)
    assert cache.size_bytes == 0
    assert numbers_in(shard.get(cache, [1])[1]) == set()


def test_the_least_recently_used_minute_goes_first():
    shard, cache = Shard(), IdCache(max_bytes=2 * (BYTES_PER_MINUTE + BYTES_PER_ID))
    for minute in (1, 2, 1, 3):
        deduplicate_and_flush(shard, cache, {minute: [] if shard.count(minute) else [minute]})
    assert cache.size_bytes == 2 * (BYTES_PER_MINUTE + BYTES_PER_ID)
    shard.loads.clear()
    shard.get(cache, [1, 2])
    assert shard.loads == [{2: None}]


def test_what_the_cache_holds_is_at_most_what_it_says():
    rng = np.random.default_rng(1)
    for ids_a_minute in (1, 50, 20_000):
        minutes = 1000 if ids_a_minute < 20_000 else 5
        raw = [rng.bytes(16 * ids_a_minute) for _ in range(minutes)]
        cache = IdCache(max_bytes=10**9)
        tracemalloc.start()
        cache.get_minutes(
            PARTITION,
            range(minutes),
            position="1-0",
            load=lambda asked, raw=raw, n=ids_a_minute: {
                minute: LoadedIds(KnownIds(np.frombuffer(raw[minute], dtype="S16").copy(), np.zeros(n, np.uint64)), 0)
                for minute in asked
            },
        )
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held <= cache.size_bytes


class CachedIds:
    """The KnownIdSource of a partition whose shard has nothing that is not in the cache."""

    def __init__(self, cache):
        self.cache = cache

    def get(self, minutes):
        return self.cache.get_minutes(PARTITION, minutes, position="1-0", load=lambda _: {})

    def add(self, blocks):
        self.cache.add(PARTITION, blocks)


def deduplicate_random_ids(cache, *, events, minutes, seed):
    rng = np.random.default_rng(seed)
    columns = build_columns([Row(0, minute=int(minute)) for minute in rng.integers(0, minutes, size=events)])
    ids = rng.integers(0, 256, size=(events, 16), dtype=np.uint8)
    ids[:, 6] = 0x40  # version 4, whose minute is the event's
    assert deduplicate(replace(columns, event_ids=ids.view("S16")[:, 0]), CachedIds(cache)).new.all()


def test_ids_of_judged_batches_take_24_bytes_each():
    cache = IdCache(max_bytes=10**9)
    tracemalloc.start()
    for batch in range(10):
        deduplicate_random_ids(cache, events=5000, minutes=4, seed=batch)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cache.size_bytes == 50_000 * 24 + 4 * BYTES_PER_MINUTE
    assert held <= cache.size_bytes + 100_000  # memory of Python itself; one batch has 230,000


def test_after_each_batch_the_cache_is_within_its_bound_whatever_the_batch_held():
    cache = IdCache(max_bytes=100_000)
    for batch, (events, minutes) in enumerate([(2000, 3), (3000, 500), (10_000, 1), (10, 1), (4000, 2)]):
        deduplicate_random_ids(cache, events=events, minutes=minutes, seed=batch)
        assert cache.size_bytes <= 100_000


minutes = st.dictionaries(st.integers(0, 3), st.integers(1, 3), max_size=3)
steps = st.lists(
    st.tuples(st.sampled_from(["own", "foreign", "back", "forget"]), minutes, st.integers(0, 3)), max_size=30
)


@settings(max_examples=scale_examples(150))
@given(steps=steps, max_minutes=st.integers(1, 4))
def test_known_ids_equal_the_shards_whatever_happens_in_between(steps, max_minutes):
    shard, cache = Shard(), IdCache(max_bytes=max_minutes * (BYTES_PER_MINUTE + 3 * BYTES_PER_ID))
    next_id = 1
    for kind, sizes, minute in steps:
        new = {m: list(range(next_id + 10 * m, next_id + 10 * m + size)) for m, size in sizes.items()}
        next_id += 50
        if kind == "own":
            deduplicate_and_flush(shard, cache, new)
        elif kind == "foreign":
            shard.flush(new)
        elif kind == "back":
            # Ids are a function of the log: going back loses the newest, and the next flush brings them again.
            lost = [row for row in shard.rows if row[0] == shard.position]
            shard.rows = [row for row in shard.rows if row[0] != shard.position]
            again = {m: sorted(numbers_in(ids)) for _, m, ids in lost}
            shard.flush(again | {m: again.get(m, []) + numbers for m, numbers in new.items()})
        else:
            cache.forget(PARTITION)
        known = shard.get(cache, [minute])[minute]
        rows = [ids for _, m, ids in shard.rows if m == minute]
        expected = KnownIds.join(rows) if rows else NONE_KNOWN
        assert known.ids.tolist() == expected.ids.tolist()
        assert known.contents.tolist() == expected.contents.tolist()


def test_merging_keeps_ids_sorted_and_contents_beside_them():
    merged = merge_block(ids_of(1, 4, 6), ids_of(2, 5, 9))
    expected = KnownIds.join([ids_of(1, 4, 6), ids_of(2, 5, 9)])
    assert merged.ids.tolist() == expected.ids.tolist()
    assert merged.contents.tolist() == expected.contents.tolist()


class Interrupted(BaseException):
    """As a time limit raises it in a worker: at any line."""


@contextmanager
def interrupted_after(lines):
    """Raises Interrupted in front of a line of the cache, the body being of that many; None: never."""
    left = lines

    def trace(frame, event, _):
        nonlocal left
        if frame.f_code.co_filename != known_ids.__file__:
            return None
        if event == "line" and left is not None:
            left -= 1
            if left < 0:
                left = None
                raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


class Drain:
    """One drain beside the shard, as `known_ids` does it: it judges ahead of what has been committed."""

    def __init__(self, shard, cache):
        self._shard, self._cache = shard, cache
        self._ahead = []
        self._is_judging = False
        self._position = shard.position
        cache.open(PARTITION)

    def judge(self, minutes):
        """Counts what is new; what is known must be what the shard has, and what was judged before."""
        self._is_judging = True
        known = self._cache.get_minutes(PARTITION, list(minutes), position=str(self._position), load=self._load)
        assert {m: numbers_in(ids) for m, ids in known.items()} == {m: self._read(m) for m in minutes}
        new = {m: numbers - self._read(m) for m, numbers in minutes.items() if numbers - self._read(m)}
        self._cache.add(PARTITION, [IdBlock(m, ids_of(*n).ids, ids_of(*n).contents) for m, n in new.items()])
        self._cache.move(PARTITION, after=str(self._position), position=str(self._position + 1))
        self._position += 1
        self._ahead.append(new)
        self._is_judging = False

    def commit(self):
        if self._ahead:
            self._shard.flush(self._ahead.pop(0))

    def close(self):
        if self._ahead or self._is_judging:
            self._cache.forget(PARTITION)
        else:
            self._cache.settle(PARTITION)

    def _read(self, minute):
        committed = [ids for _, m, ids in self._shard.rows if m == minute]
        found = set().union(*(numbers_in(ids) for ids in committed))
        return found.union(*(batch.get(minute, set()) for batch in self._ahead))

    def _load(self, held_through):
        ahead = Shard()
        ahead.position = self._shard.position
        ahead.rows = list(self._shard.rows)
        for batch in self._ahead:
            ahead.flush(batch)
        committed = Shard()
        committed.rows = self._shard.rows
        loaded, held = ahead.load(held_through), committed.load(held_through)
        return {minute: LoadedIds(loaded[minute].new, held[minute].held_count) for minute in held_through}


batches = st.dictionaries(st.integers(0, 2), st.sets(st.integers(0, 6), min_size=1, max_size=3), min_size=1, max_size=2)
drains = st.fixed_dictionaries(
    {
        "batches": st.lists(batches, min_size=1, max_size=3),
        "commits": st.integers(0, 3),
        "lines": st.one_of(st.none(), st.integers(0, 120)),
        "lines_of_close": st.one_of(st.none(), st.integers(0, 12)),
        "foreign": st.one_of(st.none(), batches),
    }
)


@settings(max_examples=scale_examples(80), deadline=None)
@given(story=st.lists(drains, min_size=2, max_size=5), max_minutes=st.integers(1, 4))
def test_ids_are_never_known_wrongly_whatever_line_an_exception_hits(story, max_minutes):
    shard, cache = Shard(), IdCache(max_bytes=max_minutes * (BYTES_PER_MINUTE + 3 * BYTES_PER_ID))
    for step in story:
        drain = None
        with suppress(Interrupted), interrupted_after(step["lines"]):
            drain = Drain(shard, cache)
            for number, minutes in enumerate(step["batches"]):
                drain.judge(minutes)
                if number < step["commits"]:
                    drain.commit()
        with suppress(Interrupted), interrupted_after(step["lines_of_close"]):
            if drain is not None:
                drain.close()
        if step["foreign"] is not None:
            known = {m: set().union(*(numbers_in(i) for _, n, i in shard.rows if n == m)) for m in step["foreign"]}
            shard.flush({m: n - known[m] for m, n in step["foreign"].items() if n - known[m]})
