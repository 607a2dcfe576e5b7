"""Waiting for an instance to come far enough, without a server."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from clusterproxy.freshness import FreshnessRequirement, Progress, ProgressProbe
from clusterproxy.progress_watch import ProgressWatch
from shardproxy.errors import DeadlineExceeded, InstanceUnavailable
from shardproxy.query import Query, QueryClass
from tests.waiting import wait_until

POLL_SECONDS = 0.005
PROBE = ProgressProbe(Query("states", "SELECT 1", QueryClass.POINT), parse=dict)


class Server:
    """Answers how far it is, while `gate` is set; has who was asked for what, and the times between two questions."""

    def __init__(self):
        self.positions = dict.fromkeys(range(8), 100)
        self.asked = []
        self.error = None
        self.most_at_once = self.at_once = 0
        self.pauses_seconds = []
        self.gate = threading.Event()
        self.gate.set()
        self._answered_at = None
        self._lock = threading.Lock()

    def query(self, partitions):
        with self._lock:
            if self._answered_at is not None:
                self.pauses_seconds.append(time.monotonic() - self._answered_at)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.gate.wait(20)
        with self._lock:
            self.at_once -= 1
            self.asked.append(list(partitions))
            self._answered_at = time.monotonic()
            if self.error is not None:
                raise self.error
            return {p: Progress((self.positions[p], 0), datetime.now(UTC)) for p in partitions}


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def watch():
    return ProgressWatch("shard1b", poll_seconds=POLL_SECONDS)


def wait(watch, server, partition, ms, *, seconds=20.0):
    demand = FreshnessRequirement(PROBE, min_positions={partition: (ms, 0)})
    return watch.wait(demand, (partition,), query=server.query, until=time.monotonic() + seconds)


def test_what_is_far_enough_is_asked_once(watch, server):
    assert wait(watch, server, 3, 100) is None
    assert server.asked == [[3]]


def test_the_end_of_the_wait_says_what_is_missing(watch, server):
    lag = wait(watch, server, 3, 200, seconds=0.05)
    assert (lag.partition, lag.reached.position, lag.required) == (3, (100, 0), (200, 0))


def test_all_who_wait_share_one_question_at_a_time(watch, server):
    with ThreadPoolExecutor(32) as executor:
        server.gate.clear()
        waiting = [executor.submit(wait, watch, server, n % 8, 200) for n in range(32)]
        wait_until(lambda: watch.reader_count == 32)
        server.gate.set()
        wait_until(lambda: len(server.asked) >= 5)
        server.positions = dict.fromkeys(range(8), 200)
        assert [future.result(timeout=20) for future in waiting] == [None] * 32
    assert server.most_at_once == 1
    assert min(server.pauses_seconds) >= POLL_SECONDS
    assert [0, 1, 2, 3, 4, 5, 6, 7] in server.asked


def test_whoever_asks_for_all_hands_over_when_it_has_what_it_wants(watch, server):
    with ThreadPoolExecutor(2) as executor:
        first = executor.submit(wait, watch, server, 1, 200)
        wait_until(lambda: [1] in server.asked)
        second = executor.submit(wait, watch, server, 2, 200)
        wait_until(lambda: [1, 2] in server.asked)
        server.positions[1] = 200
        assert first.result(timeout=20) is None
        wait_until(lambda: [2] in server.asked)
        assert not second.done()
        server.positions[2] = 200
        assert second.result(timeout=20) is None


def test_nobody_is_satisfied_by_what_was_known_before_it_came(watch, server):
    assert wait(watch, server, 3, 100) is None
    server.positions[3] = 90  # another server under the same name, restored from a copy
    assert wait(watch, server, 3, 100, seconds=0.05).reached.position == (90, 0)


def test_an_instance_that_fails_fails_all_who_wait_for_it(watch, server):
    with ThreadPoolExecutor(4) as executor:
        waiting = [executor.submit(wait, watch, server, n, 200) for n in range(4)]
        wait_until(lambda: watch.reader_count == 4)
        server.error = InstanceUnavailable("gone", instance="shard1b")
        for future in waiting:
            with pytest.raises(InstanceUnavailable):
                future.result(timeout=20)
    assert watch.reader_count == 0


def test_what_nobody_waits_for_any_more_is_not_asked_for(watch, server):
    assert wait(watch, server, 3, 200, seconds=0.05) is not None
    assert wait(watch, server, 5, 100) is None
    assert server.asked[-1] == [5]


def test_an_unexpected_error_blocks_nobody_else(watch, server):
    server.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        wait(watch, server, 3, 100)
    server.error = None
    assert wait(watch, server, 3, 100) is None


def test_learning_nothing_in_time_is_an_error(watch, server):
    server.gate.clear()
    with ThreadPoolExecutor(1) as executor:
        leader = executor.submit(wait, watch, server, 3, 100)
        wait_until(lambda: server.at_once == 1)
        with pytest.raises(DeadlineExceeded):
            wait(watch, server, 3, 100, seconds=0.05)
        server.gate.set()
        assert leader.result(timeout=20) is None
