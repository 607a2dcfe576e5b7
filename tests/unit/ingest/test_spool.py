"""Groups on the gateway's disk: in order, whole or not at all, bounded, never without an owner."""

import os
import struct

import msgspec
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiers import scale_examples
from viewcounter.ingest import spool_segments
from viewcounter.ingest.spool import Spool, SpoolFull, measure_slots


def make_spool(directory, max_bytes=10_000_000):
    return Spool(directory, max_bytes=max_bytes)


def make_group(number, size=10):
    return {number % 4: bytes([number % 256]) * size}


def empty(spool):
    groups = []
    while (group := spool.find_oldest()) is not None:
        groups.append(group)
        spool.drop_from_oldest(set(group))
    return groups


def test_groups_leave_in_the_order_they_came_and_nothing_stays_on_disk(tmp_path):
    spool = make_spool(tmp_path)
    groups = [make_group(number) for number in range(50)]
    for group in groups:
        spool.append(group)
    assert empty(spool) == groups
    assert spool.size_bytes == 0
    assert list(tmp_path.rglob("*.spool")) == []
    spool.close()


def test_what_a_dead_process_left_is_there_for_the_next_one(tmp_path):
    groups = [make_group(number) for number in range(5)]
    if (child := os.fork()) == 0:
        status = 1
        try:
            dead = make_spool(tmp_path)
            for group in groups:
                dead.append(group)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0) == (child, 0)
    spool = make_spool(tmp_path)
    assert spool.find_oldest() == groups[0]
    spool.append(make_group(9))
    assert empty(spool) == [*groups, make_group(9)]
    spool.close()


def test_the_survivor_of_two_processes_takes_over_what_the_other_left(tmp_path):
    first, second = make_spool(tmp_path), make_spool(tmp_path)
    first.append(make_group(1))
    second.append(make_group(2))
    assert first.adopt_orphans() == 0
    second.close()
    assert first.adopt_orphans() == 1
    assert empty(first) == [make_group(1), make_group(2)]
    first.close()


@pytest.mark.parametrize("cut", [1, 11, 12, 20])
def test_a_record_cut_short_by_a_crash_is_skipped_and_those_before_it_are_not(tmp_path, cut):
    dead = make_spool(tmp_path)
    dead.append(make_group(1))
    (segment,) = tmp_path.rglob("*.spool")
    whole = segment.stat().st_size
    dead.append(make_group(2))
    dead.close()
    os.truncate(segment, whole + cut)
    spool = make_spool(tmp_path)
    spool.append(make_group(3))
    assert empty(spool) == [make_group(1), make_group(3)]
    spool.close()


def write_segment(tmp_path, groups):
    """The file in which a dead process has left these."""
    dead = make_spool(tmp_path)
    for group in groups:
        dead.append(group)
    dead.close()
    (segment,) = tmp_path.rglob("*.spool")
    return segment


def flip(segment, place, bit=0):
    content = bytearray(segment.read_bytes())
    content[place % len(content)] ^= 1 << bit
    segment.write_bytes(content)


@settings(max_examples=scale_examples(60), deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6), place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_the_record_that_it_is_in_and_no_other(tmp_path_factory, sizes, place, bit):
    tmp_path = tmp_path_factory.mktemp("spool")
    groups = [{number: bytes([number + 1]) * size} for number, size in enumerate(sizes)]
    segment = write_segment(tmp_path, groups)
    before = segment.read_bytes()
    flip(segment, place, bit)
    spool = make_spool(tmp_path)
    ends = [sum(len(spool_segments.pack_record(g)) for g in groups[: n + 1]) for n in range(len(groups))]
    hit = next(n for n, end in enumerate(ends) if place % len(before) < end)
    assert empty(spool) == [group for number, group in enumerate(groups) if number != hit]
    (kept,) = tmp_path.rglob("*.damaged")
    assert len(kept.read_bytes()) == len(before)
    assert (spool.size_bytes, list(tmp_path.rglob("*.spool"))) == (0, [])
    assert measure_slots(tmp_path).damaged_count == 1
    spool.close()


def test_every_damaged_file_is_kept_under_a_name_of_its_own(tmp_path):
    for number in range(3):
        flip(write_segment(tmp_path, [make_group(number)]), -1)
        spool = make_spool(tmp_path)
        assert empty(spool) == []
        spool.close()
    kept = sorted(tmp_path.rglob("*.damaged"))
    assert len({path.read_bytes() for path in kept}) == len(kept) == 3


def pack_unmarked(group):
    """As the release before wrote it."""
    body = msgspec.msgpack.encode(group)
    return struct.pack("<IQ", len(body), xxhash.xxh3_64_intdigest(body)) + body


def test_records_of_the_release_before_are_read_and_damaged_ones_passed(tmp_path):
    groups = [make_group(number, size=40) for number in range(3)]
    segment = write_segment(tmp_path, [make_group(9)])
    records = [pack_unmarked(group) for group in groups]
    segment.write_bytes(b"".join([*records, spool_segments.pack_record(make_group(3))]))
    flip(segment, len(records[0]) + 30)
    spool = make_spool(tmp_path)
    assert empty(spool) == [groups[0], groups[2], make_group(3)]
    assert len(list(tmp_path.rglob("*.damaged"))) == 1
    spool.close()


def test_what_is_set_aside_holds_up_no_other_and_survives_the_process(tmp_path):
    spool = make_spool(tmp_path)
    spool.append({1: b"one", 2: b"two"})
    spool.append({1: b"three"})
    assert spool.find_oldest() == {1: b"one", 2: b"two"}
    spool.set_aside(1)
    assert spool.find_oldest() == {2: b"two"}
    spool.drop_from_oldest({2})
    spool.append_refused(1, b"four")
    spool.close()
    spool = make_spool(tmp_path)
    assert (spool.refused_partitions, measure_slots(tmp_path).refused_partitions) == ([1], (1,))
    found = []
    while (payload := spool.find_refused(1)) is not None:
        found.append(payload)
        spool.drop_refused(1)
    assert found == [b"one", b"four"]
    assert spool.refused_partitions == []
    assert empty(spool) == [{1: b"one", 2: b"two"}, {1: b"three"}]  # its segment had not left: ids make it harmless
    assert spool.size_bytes == 0
    spool.close()


def test_a_full_spool_refuses_and_takes_again_when_a_segment_has_left(tmp_path):
    spool = make_spool(tmp_path, max_bytes=1000)
    spool.append(make_group(1, size=900))
    with pytest.raises(SpoolFull):
        spool.append(make_group(2, size=900))
    assert empty(spool) == [make_group(1, size=900)]
    spool.append(make_group(2, size=900))
    assert empty(spool) == [make_group(2, size=900)]
    spool.close()


def test_a_group_that_the_disk_refused_is_not_in_the_spool(tmp_path, monkeypatch):
    spool = make_spool(tmp_path)
    spool.append(make_group(1))

    def refuse(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", refuse)
        with pytest.raises(OSError, match="No space left"):
            spool.append(make_group(2))
    spool.append(make_group(3))
    assert empty(spool) == [make_group(1), make_group(3)]
    spool.close()


@settings(max_examples=scale_examples(60), deadline=None)
@given(steps=st.lists(st.sampled_from(["append", "remove", "die"]), max_size=40))
def test_any_life_of_a_spool_keeps_order_and_repeats_at_most_a_segment(tmp_path_factory, steps):
    """After a death what had left of the oldest segment may come again, nothing else, and nothing is missing."""
    directory = tmp_path_factory.mktemp("spool")
    spool, number, waiting, seen = make_spool(directory), 0, [], []
    for step in steps:
        if step == "append":
            spool.append(make_group(number))
            waiting.append(number)
            number += 1
        elif step == "remove" and (group := spool.find_oldest()) is not None:
            seen.append(group)
            spool.drop_from_oldest(set(group))
        elif step == "die":
            spool.close()  # writes nothing, as a death
            spool = make_spool(directory)
    seen += empty(spool)
    spool.close()
    first_seen = list(dict.fromkeys((next(iter(g)), next(iter(g.values()))) for g in seen))
    assert first_seen == [(n % 4, bytes([n % 256]) * 10) for n in range(number)]
