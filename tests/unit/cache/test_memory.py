"""How long answers may be used, and a memory that never outgrows its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewcounter.cache.memory import (
    ENTRY_OVERHEAD_BYTES,
    Age,
    CacheEntry,
    MemoryCache,
    classify_age,
)
from viewcounter.cache.settings import Lifetimes

LIFETIMES = Lifetimes(fresh_seconds=1.0, stale_seconds=60.0)
READ_AT = 1000.0
OPEN = CacheEntry(READ_AT, None, b"")
FINAL = CacheEntry(READ_AT, 7, b"")


@pytest.mark.parametrize(
    ("stored", "age_seconds", "generation", "age"),
    [
        (OPEN, 0.0, None, Age.FRESH),
        (OPEN, 1.0, None, Age.FRESH),
        (OPEN, 1.001, None, Age.EXPIRED),
        (OPEN, 60.0, None, Age.EXPIRED),
        (OPEN, 60.1, None, Age.GONE),
        (OPEN, 0.5, 7, Age.FRESH),
        (OPEN, 30.0, 7, Age.EXPIRED),
        # A clock that is ahead does not make an answer last.
        (OPEN, -1.0, None, Age.FRESH),
        (OPEN, -1.001, None, Age.EXPIRED),
        (FINAL, 0.0, 7, Age.FRESH),
        (FINAL, 10_000_000.0, 7, Age.FRESH),
        (FINAL, -500.0, 7, Age.FRESH),
        # Corrected: at once, however young it is.
        (FINAL, 0.0, 8, Age.EXPIRED),
        (FINAL, 60.1, 8, Age.GONE),
        # The shard cannot be asked: as any other answer.
        (FINAL, 1.0, None, Age.FRESH),
        (FINAL, 1.1, None, Age.EXPIRED),
        (FINAL, 60.1, None, Age.GONE),
    ],
)
def test_an_answer_is_fresh_by_its_generation_or_else_for_a_moment(stored, age_seconds, generation, age):
    assert classify_age(stored, now=READ_AT + age_seconds, generation=generation, lifetimes=LIFETIMES) is age


def answer(size_bytes, number=0):
    return CacheEntry(float(number), None, b"x" * size_bytes)


def test_the_least_recently_used_answer_leaves_first():
    memory = MemoryCache(max_bytes=10**6, max_entries=3)
    for key in "abc":
        assert memory.put(key, answer(1)) == 0
    assert memory.find("a") == answer(1)
    assert memory.put("d", answer(1)) == 1
    assert [key for key in "abcd" if memory.find(key)] == ["a", "c", "d"]


def test_a_large_answer_makes_as_many_leave_as_it_needs_room_for():
    room = 4 * (ENTRY_OVERHEAD_BYTES + 1 + 100)
    memory = MemoryCache(max_bytes=room, max_entries=100)
    for key in "abcd":
        memory.put(key, answer(100))
    assert memory.size_bytes == room
    assert memory.put("e", answer(101)) == 2
    assert [key for key in "abcde" if memory.find(key)] == ["c", "d", "e"]


def test_an_answer_larger_than_the_whole_memory_is_not_taken():
    memory = MemoryCache(max_bytes=1000, max_entries=10)
    memory.put("a", answer(1))
    memory.put("b", answer(1))
    assert memory.put("b", answer(1001)) == 0
    assert (memory.find("a"), memory.find("b")) == (answer(1), None)


def test_cleared_memory_is_empty():
    memory = MemoryCache(max_bytes=1000, max_entries=10)
    memory.put("a", answer(1))
    memory.clear()
    assert (memory.find("a"), memory.size_bytes, len(memory)) == (None, 0, 0)


@given(
    puts=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 900)), max_size=60),
    max_bytes=st.integers(0, 6000),
    max_entries=st.integers(0, 6),
)
def test_bounds_hold_and_what_is_found_is_what_was_put_last(puts, max_bytes, max_entries):
    memory = MemoryCache(max_bytes=max_bytes, max_entries=max_entries)
    last = {}
    for number, (key, size_bytes) in enumerate(puts):
        before = set(last) & {k for k in last if memory.find(k)}
        evicted = memory.put(key, answer(size_bytes, number))
        last[key] = answer(size_bytes, number)
        found = {k for k in last if memory.find(k) == last[k]}
        assert len(memory) <= max_entries
        assert memory.size_bytes <= max_bytes
        assert memory.size_bytes == sum(ENTRY_OVERHEAD_BYTES + 1 + len(last[k].payload) for k in found)
        if ENTRY_OVERHEAD_BYTES + 1 + size_bytes <= max_bytes:
            assert evicted == len(before | {key}) - len(found)
