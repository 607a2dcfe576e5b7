"""A replica lags in partitions where its position is lower; positions compare as numbers."""

from viewcounter.eventlog.interface import Position
from viewcounter.shardwatch.instance_lag import find_late
from viewcounter.storage.instances import Applied, build_applied


def test_partitions_are_late_where_the_copy_has_applied_less():
    truth = Applied(100, {0: "10-0", 1: "9-0", 2: "5-10", 3: "7-0", 4: "8-0"})
    copy = Applied(90, {0: "9-0", 1: "10-0", 2: "5-9", 3: "7-0"})
    assert find_late(copy, truth) == {
        0: (Position(9, 0), Position(10, 0)),
        2: (Position(5, 9), Position(5, 10)),
    }


def test_a_copy_without_a_partition_still_has_its_place_in_the_wal():
    assert build_applied([{"wal_bytes": 7, "partition": None, "position": None}]) == Applied(7, {})
    assert build_applied([{"wal_bytes": 7, "partition": 1, "position": "1-0"}]) == Applied(7, {1: "1-0"})
