"""Celery workers start and stop while there is work: real worker processes, a real backlog, exact counts at the end."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devtools.bench.workload import generate_commits
from devtools.localcluster import ClusterSpec, LocalCluster
from tests.clusters import run_cluster, start_prepared_servers
from tests.conftest import use_cluster
from tests.pace import limit
from tests.processes import running
from tests.system.exactness import read_shards
from tests.waiting import wait_until
from viewcounter.cluster import get_cluster
from viewcounter.eventlog.interface import Position
from viewcounter.eventlog.registry import get_event_log

pytestmark = pytest.mark.system

PARTITIONS = 4
FLUSH_SECONDS = 3.0
SETTINGS = {
    "VIEWCOUNTER_DRAIN_FLUSH_MAX_EVENTS": "400",
    "VIEWCOUNTER_DRAIN_BUDGET_SECONDS": "50",
    "VIEWCOUNTER_POOL_QUERY_FLUSH_SECONDS": str(FLUSH_SECONDS),
}
"""Many flushes in long drains, so that a stop meets one in the middle."""
APPLIED_SECONDS = 90.0
STOP_SECONDS = 20.0
"""What devtools.localcluster and most process managers grant before they kill."""


class Worker:
    """`celery worker` with one pool process, as an operator starts it; only its node name is its own."""

    def __init__(self, process: subprocess.Popen[str], log_path: Path) -> None:
        self._process = process
        self._log_path = log_path

    def stop(self) -> int:
        """SIGTERM, as a process manager sends it. Returns the exit code; raises TimeoutExpired past the limit."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=limit(STOP_SECONDS))

    def list_drains(self) -> list[tuple[int, int, bool]]:
        """Partition, events counted and whether the end of the log was reached, of each drain that ended."""
        drained = r"drained DrainReport\(partition=(\d+),.*? counted=(\d+),.*? caught_up=(True|False)"
        return [(int(p), int(n), end == "True") for p, n, end in re.findall(drained, self._log_path.read_text())]

    def has_counted(self) -> bool:
        return any(counted for _, counted, _ in self.list_drains())


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    spec = ClusterSpec(shards=1, replicas_per_shard=0, partitions=PARTITIONS)
    with run_cluster(spec=spec, start=start_prepared_servers) as cluster:
        use_cluster(cluster)
        cluster.application("beat").start()
        yield cluster
        get_cluster().close()


@contextmanager
def run_worker(cluster: LocalCluster, name: str) -> Iterator[Worker]:
    log_path = cluster.state.root / f"{name}.log"
    command = [
        sys.executable, "-m", "celery", "--app", "viewcounter.celery:app", "worker",
        "--hostname", f"{name}@local", "--concurrency", "1", "--loglevel", "INFO",
        "--without-gossip", "--without-mingle",
    ]  # fmt: skip
    with (
        log_path.open("w") as log,
        running(
            command, environment=cluster.environment | SETTINGS, stdout=log.fileno(), stderr=subprocess.STDOUT
        ) as process,
    ):
        yield Worker(process, log_path)


class Backlog:
    """The events that were appended to the log of all partitions."""

    def __init__(self) -> None:
        self.event_count = 0

    def append(self, event_count: int) -> None:
        until_us = time.time_ns() // 1000
        for commit in generate_commits(
            event_count=event_count, partition_count=PARTITIONS, until_us=until_us, seed=self.event_count
        ):
            assert get_event_log().append(commit.entries).failed == {}
            self.event_count += commit.event_count

    def feed_until(self, condition: Callable[[], bool], *, what: str) -> None:
        def feed() -> bool:
            self.append(400)
            return condition()

        wait_until(feed, what=what)


def count_applied() -> int:
    [row] = read_shards("SELECT coalesce(sum(count), 0)::bigint AS count FROM event_total")
    return int(row["count"])


def find_draining() -> int | None:
    """A partition of which a part has been applied, and from which there is much to go."""
    rows = read_shards("SELECT partition, position FROM partition_state WHERE position <> '0-0'")
    positions = {row["partition"]: Position.parse(row["position"]) for row in rows}
    unread = get_event_log().read_unread(positions).events
    return next((partition for partition, left in unread.items() if left > 5_000), None)


def assert_applied(event_count: int) -> None:
    wait_until(lambda: count_applied() >= event_count, what="everything to be applied", within_seconds=APPLIED_SECONDS)
    [row] = read_shards(
        "SELECT (SELECT sum(counted) FROM ledger) AS ledger, (SELECT sum(count) FROM event_total) AS totals,"
        " (SELECT sum(count) FROM event_minute) AS minutes, (SELECT count(*) FROM raw_event) AS raw"
    )
    assert row == dict.fromkeys(("ledger", "totals", "minutes", "raw"), event_count)


def test_workers_that_stop_in_the_middle_of_drains_count_every_event_once(cluster):
    backlog = Backlog()
    backlog.append(80_000)
    with run_worker(cluster, "first") as first:
        wait_until(lambda: find_draining() is not None, what="a drain in the middle of its partition")
        assert first.stop() == 0
        *_, (_, counted, caught_up) = first.list_drains()
        assert 0 < counted < backlog.event_count
        assert not caught_up  # it did not go on to the end of its partition
    applied = count_applied()
    assert applied < backlog.event_count

    with run_worker(cluster, "second") as second:
        wait_until(lambda: count_applied() > applied, what="the second worker to go on")
        cluster.database("shard1a").pause()  # the flush under way never ends by itself
        assert second.stop() == 0
        cluster.database("shard1a").resume()

    with run_worker(cluster, "third") as third:
        wait_until(third.has_counted, what="the third worker to drain")
        with run_worker(cluster, "fourth") as fourth:
            backlog.feed_until(fourth.has_counted, what="the fourth worker to drain as well")
            drained = len(third.list_drains())
            backlog.feed_until(lambda: len(third.list_drains()) > drained, what="the third worker to drain beside it")
            assert_applied(backlog.event_count)
            assert (third.stop(), fourth.stop()) == (0, 0)
