"""The id cache: bounded, and complete as of the position asked for, whoever drained in between."""

import gc
import tracemalloc
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiers import scale_examples
from tests.unit.processing.builders import Row, build_columns
from viewcounter.processing.deduplication import NONE_KNOWN, KnownIds, judge_batch, merge_block
from viewcounter.processing.id_cache import BYTES_PER_ID, BYTES_PER_MINUTE, IdCache, LoadedIds
from viewcounter.storage.flush import IdBlock

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


def judge_and_flush(shard, cache, minutes):
    """As a drain does: get, add, and the shard moves with it."""
    before = str(shard.position)
    shard.get(cache, list(minutes))
    cache.add(PARTITION, [IdBlock(m, ids_of(*n).ids, ids_of(*n).contents) for m, n in minutes.items()])
    shard.flush(minutes)
    cache.move(PARTITION, after=before, position=str(shard.position))


def test_a_minute_is_loaded_once_while_only_this_process_drains():
    shard, cache = Shard(), IdCache(max_bytes=100_000)
    judge_and_flush(shard, cache, {1: [1, 2], 2: [3]})
    judge_and_flush(shard, cache, {2: [4], 3: [5]})
    known = shard.get(cache, [1, 2, 3])
    assert {minute: numbers_in(ids) for minute, ids in known.items()} == {1: {1, 2}, 2: {3, 4}, 3: {5}}
    assert shard.loads == [{1: None, 2: None}, {3: None}]


def test_only_what_others_added_is_loaded_after_a_foreign_flush():
    shard, cache = Shard(), IdCache(max_bytes=100_000)
    judge_and_flush(shard, cache, {1: [1, 2], 2: [3]})
    shard.flush({1: [4]})
    assert numbers_in(shard.get(cache, [1])[1]) == {1, 2, 4}
    shard.flush({1: [5]})
    assert {m: numbers_in(i) for m, i in shard.get(cache, [1, 2]).items()} == {1: {1, 2, 4, 5}, 2: {3}}
    assert shard.loads == [{1: None, 2: None}, {1: "1"}, {1: "2", 2: "1"}]


def test_a_batch_that_touches_no_minute_does_not_hide_what_others_added_before_it():
    shard, cache = Shard(), IdCache(max_bytes=100_000)
    judge_and_flush(shard, cache, {1: [1]})
    shard.flush({1: [2]})
    cache.move(PARTITION, after="2", position="3")
    shard.flush({})
    assert numbers_in(shard.get(cache, [1])[1]) == {1, 2}


def test_a_minute_is_loaded_whole_when_the_shard_went_back_and_on_again():
    shard, cache = Shard(), IdCache(max_bytes=100_000)
    judge_and_flush(shard, cache, {1: [1]})
    judge_and_flush(shard, cache, {1: [2]})
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
        judge_and_flush(shard, cache, {minute: [] if shard.count(minute) else [minute]})
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


def judge_random_ids(cache, *, events, minutes, seed):
    rng = np.random.default_rng(seed)
    columns = build_columns([Row(0, minute=int(minute)) for minute in rng.integers(0, minutes, size=events)])
    ids = rng.integers(0, 256, size=(events, 16), dtype=np.uint8)
    ids[:, 6] = 0x40  # version 4, whose minute is the event's
    assert judge_batch(replace(columns, event_ids=ids.view("S16")[:, 0]), CachedIds(cache)).new.all()


def test_ids_of_judged_batches_take_24_bytes_each():
    cache = IdCache(max_bytes=10**9)
    tracemalloc.start()
    for batch in range(10):
        judge_random_ids(cache, events=5000, minutes=4, seed=batch)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cache.size_bytes == 50_000 * 24 + 4 * BYTES_PER_MINUTE
    assert held <= cache.size_bytes + 50_000  # what Python itself keeps; one batch has 230,000


def test_after_each_batch_the_cache_is_within_its_bound_whatever_the_batch_held():
    cache = IdCache(max_bytes=100_000)
    for batch, (events, minutes) in enumerate([(2000, 3), (3000, 500), (10_000, 1), (10, 1), (4000, 2)]):
        judge_random_ids(cache, events=events, minutes=minutes, seed=batch)
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
            judge_and_flush(shard, cache, new)
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
