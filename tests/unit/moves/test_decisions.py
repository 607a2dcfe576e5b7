"""Decisions of a mover: when it pauses and retries, and which copies are equal."""

import msgspec
import pytest

from configservice.topology.model import Role
from tests.unit.clusterproxy.builders import build_instance, build_shard
from viewcounter.moves.comparing import check_rows, find_differences
from viewcounter.moves.errors import CopyDiffers
from viewcounter.moves.throttle import find_obstacle
from viewcounter.storage.comparison import Digest

SHARD = build_shard(1, replicas=2)
ROW = {"position": "9-0", "rolled_through": 1, "admits_since": 2, "minutes_since": 3, "hours_since": 4, "watermark": 5}


@pytest.mark.parametrize(
    ("lags", "expected"),
    [
        ({"shard1b": 0.0, "shard1c": 5.0}, None),
        ({"shard1b": 0.0, "shard1c": 5.1}, "shard1c lags by 5.1 s"),
        ({"shard1b": None, "shard1c": 0.0}, "replication lag of shard1b is unknown"),
        ({"shard1c": 0.0}, "replication lag of shard1b is unknown"),
    ],
)
def test_a_mover_pauses_while_a_replica_is_behind_or_unknown(lags, expected):
    assert find_obstacle(SHARD, lags, max_lag_seconds=5.0) == expected


def test_a_dead_replica_that_is_not_promotable_holds_nobody_up():
    replica = msgspec.structs.replace(build_instance("shard1b", Role.REPLICA), promotable=False)
    shard = msgspec.structs.replace(SHARD, instances=(SHARD.instances[0], replica))
    assert find_obstacle(shard, {"shard1b": None}, max_lag_seconds=5.0) is None
    assert find_obstacle(shard, {"shard1b": 9.0}, max_lag_seconds=5.0) == "shard1b lags by 9.0 s"


def test_differences_name_the_table_and_both_sides():
    source = {"ledger": Digest(3, 1), "video": Digest(2, 7), "event_day": Digest(1, 1)}
    copy = {"ledger": Digest(2, 1), "video": Digest(2, 8), "event_day": Digest(1, 1)}
    assert find_differences(source, copy) == [
        "ledger: 3 rows, 2 in the copy",
        "video: 2 rows, 2 in the copy, not the same ones",
    ]
    assert find_differences(source, source) == []


@pytest.mark.parametrize("name", ["position", "rolled_through", "admits_since", "minutes_since", "hours_since"])
def test_a_copy_at_another_position_or_otherwise_maintained_is_none(name):
    with pytest.raises(CopyDiffers, match=name):
        check_rows(ROW, ROW | {name: "else"})
    check_rows(ROW, ROW | {"watermark": 6})
