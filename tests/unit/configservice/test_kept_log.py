"""What a replica lacks of the event log, and how much of it is kept for those that are away."""

import msgspec
import pytest

from configservice.errors import LogUnavailable
from configservice.failover.kept_log import LogReading, LogShare, LogWatch, compute_share, find_lacking
from tests.unit.clusterproxy.builders import build_topology


@pytest.mark.parametrize(
    ("position", "floor", "lacks"),
    [
        ("7-3", (7, 3), False),
        ("7-3", (7, 4), True),
        ("9-0", (10, 0), True),
        ("10-0", (9, 99), False),
        (None, (0, 0), False),
        (None, (0, 1), True),
    ],
)
def test_whoever_is_below_the_floor_of_a_partition_lacks_it(position, floor, lacks):
    positions = {} if position is None else {3: position}
    assert find_lacking(positions, {3: floor}) == ([3] if lacks else [])


def test_a_share_is_full_when_it_goes_on_growing_as_it_did():
    assert compute_share([(100.0, 400)], share_bytes=1000) == LogShare(400, 1000, None)
    assert compute_share([(100.0, 400), (110.0, 500)], share_bytes=1000) == LogShare(500, 1000, 50.0)
    assert compute_share([(100.0, 400), (110.0, 300)], share_bytes=1000) == LogShare(300, 1000, None)
    assert compute_share([(100.0, 900), (110.0, 1200)], share_bytes=1000) == LogShare(1200, 1000, 0.0)
    assert [LogShare(kept, 1000).is_used_up() for kept in (999, 1000)] == [False, True]
    assert [LogShare(kept, 1000).is_used_up(1.5) for kept in (1499, 1500)] == [False, True]


class Log:
    """What is read of it: every partition takes `size` bytes and begins at `floor`."""

    def __init__(self):
        self.size, self.floor, self.max_bytes, self.answers = 10, (5, 0), 8000, True

    def read(self, log_id, partitions):
        assert log_id == "cluster:log"
        if not self.answers:
            raise LogUnavailable("it is away")
        return LogReading(dict.fromkeys(partitions, self.floor), dict.fromkeys(partitions, self.size), self.max_bytes)


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def instants():
    """Of the clock, one a reading."""
    return iter([100.0, 110.0])


@pytest.fixture
def watch(log, instants):
    watch = LogWatch(log.read, keep_share=0.5, clock=lambda: next(instants))
    watch.watch(msgspec.structs.replace(build_topology(partitions=4), log_id="cluster:log"))
    return watch


def test_the_shards_share_evenly_what_may_be_kept_of_the_log(watch, log):
    assert watch.get_share(1) is None
    watch.read_now()
    assert [watch.get_share(1), watch.get_share(2), watch.get_share(9)] == [
        LogShare(20, 2000),
        LogShare(20, 2000),
        None,
    ]
    log.size = 520
    watch.read_now()
    assert watch.get_share(1) == LogShare(1040, 2000, 960 / 102)


def test_a_log_without_a_bound_never_fills(watch, log):
    log.max_bytes = None
    watch.read_now()
    assert watch.get_share(1) is None


def test_what_was_read_last_counts_while_the_log_is_away(watch, log, caplog):
    log.answers = False
    watch.read_now()
    assert watch.find_lacking(1, {}) == []
    log.answers = True
    watch.read_now()
    log.answers, log.floor = False, (9, 0)
    watch.read_now()
    first, second = sorted(build_topology(partitions=4).get_partitions_of(1))
    assert watch.find_lacking(1, {first: "5-0", second: "4-9"}) == [second]
    away = "the event log cannot be read, the last reading stays in use: it is away"
    assert [record.message for record in caplog.records] == [
        away,
        "the event log can be read again (failed attempts: 1)",
        away,
    ]
