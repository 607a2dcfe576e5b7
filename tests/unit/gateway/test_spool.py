"""Groups on the gateway's disk: in order, whole or not at all, bounded, never without an owner."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiers import scale_examples
from viewcounter.gateway import spool as spool_module
from viewcounter.gateway.spool import Spool, SpoolFull


def make_spool(directory, max_bytes=10_000_000):
    return Spool(directory, max_bytes=max_bytes)


def make_group(number, size=10):
    return {number % 4: bytes([number % 256]) * size}


def empty(spool):
    groups = []
    while (group := spool.find_oldest()) is not None:
        groups.append(group)
        spool.remove_oldest()
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


def test_a_damaged_record_ends_its_segment_not_the_spool(tmp_path, monkeypatch):
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 1)  # a segment a record
    spool = make_spool(tmp_path)
    for number in range(3):
        spool.append(make_group(number))
    damaged = sorted(tmp_path.rglob("*.spool"))[1]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    assert empty(spool) == [make_group(0), make_group(2)]
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
            spool.remove_oldest()
        elif step == "die":
            spool.close()  # writes nothing, as a death
            spool = make_spool(directory)
    seen += empty(spool)
    spool.close()
    first_seen = list(dict.fromkeys((next(iter(g)), next(iter(g.values()))) for g in seen))
    assert first_seen == [(n % 4, bytes([n % 256]) * 10) for n in range(number)]
