"""Lag is arithmetic on one reading of the shards and one of the log."""

from datetime import UTC, datetime, timedelta

import pytest

from configservice.topology.model import Assignment, Shard, Topology
from runtime.metrics import REGISTRY
from viewcounter.eventlog.interface import Unread
from viewcounter.eventlog.lag_notice import LagNotice
from viewcounter.maintenance.lag import build_lag, choose_clock, publish_lag

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
SHARDS = (Shard(id=1, name="one", term=1, instances=()), Shard(id=2, name="two", term=1, instances=()))
TOPOLOGY = Topology(
    epoch=1, shards=SHARDS, assignments=tuple(Assignment(1 + p % 2, 1) for p in range(4)), event_types=()
)


def get_row(partition: int, *, watermark: datetime, position: str = "5-0", state: str = "owned") -> dict[str, object]:
    return {"partition": partition, "state": state, "position": position, "watermark": watermark, "owner": "host:7:a"}


def build():
    rows = [
        get_row(2, watermark=NOW - timedelta(seconds=90)),
        get_row(0, watermark=NOW - timedelta(seconds=2)),
        get_row(1, watermark=NOW + timedelta(seconds=1), state="stopped"),
    ]
    oldest = {2: NOW - timedelta(seconds=30), 1: NOW + timedelta(seconds=1)}
    return build_lag(rows, Unread(NOW, {0: 0, 1: 4, 2: 7}, {0: 0, 1: 400, 2: 900}, oldest), topology=TOPOLOGY, now=NOW)


def test_lag_is_the_age_of_the_oldest_entry_with_the_number_and_size_of_events():
    lag = build()
    assert [(p.partition, p.shard, p.state) for p in lag.partitions] == [
        (0, "one", "owned"),
        (1, "two", "stopped"),
        (2, "one", "owned"),
    ]
    assert [(p.events_behind, p.bytes_behind, p.seconds_behind, p.watermark_age_seconds) for p in lag.partitions] == [
        (0, 0, 0.0, 2.0),
        (4, 400, 0.0, 0.0),
        (7, 900, 30.0, 90.0),
    ]
    assert (lag.events_behind, lag.bytes_behind, lag.seconds_behind) == (11, 1300, 30.0)
    assert (lag.unread_count, lag.missing) == (2, (3,))
    assert {p.owner for p in lag.partitions} == {"host:7:a"}


def test_each_figure_is_a_gauge_of_its_partition():
    publish_lag(build())
    assert REGISTRY.get_sample_value("viewcounter_partition_lag_events", {"partition": "2"}) == 7
    assert REGISTRY.get_sample_value("viewcounter_partition_lag_bytes", {"partition": "2"}) == 900
    assert REGISTRY.get_sample_value("viewcounter_partition_lag_seconds", {"partition": "2"}) == 30
    assert REGISTRY.get_sample_value("viewcounter_partition_watermark_age_seconds", {"partition": "2"}) == 90
    assert REGISTRY.get_sample_value("viewcounter_unmeasured_partitions") == 1


def test_gateways_get_the_size_of_all_events_and_the_lag_of_most_partitions():
    assert build().notice == LagNotice(bytes=1300, seconds=0.0)  # of three, one is late
    late = {p: NOW - timedelta(seconds=30 * (p + 1)) for p in range(3)}
    rows = [get_row(p, watermark=NOW) for p in range(3)]
    ones = dict.fromkeys(range(3), 1)
    assert build_lag(rows, Unread(NOW, ones, ones, late), topology=TOPOLOGY, now=NOW).notice.seconds == 60.0
    assert build_lag([], Unread(NOW, {}, {}, {}), topology=TOPOLOGY, now=NOW).notice == LagNotice(0, 0.0)


@pytest.mark.parametrize(
    ("ahead", "middle"),
    [((0, 864_000, 0, 0), 0), ((0, -864_000, 1), 0), ((864_000, 0), 0), ((0, 0, 5), 0), ((3,), 3)],
)
def test_a_clock_that_is_wrong_alone_is_not_believed(ahead, middle):
    clocks = [NOW + timedelta(seconds=seconds) for seconds in ahead]
    assert choose_clock(clocks) == NOW + timedelta(seconds=middle)
