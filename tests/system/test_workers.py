"""Workers start, stop and die while there is work: real processes, a real backlog, exact counts at the end.

Neither broker nor beat runs: pull processes need the log and the shards.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from devtools.bench.workload import generate_commits
from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.localcluster.spec import BROKER_SERVER
from tests.clusters import run_cluster, start_prepared_servers
from tests.conftest import use_cluster
from tests.pace import limit
from tests.processes import lives, running
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
    "VIEWCOUNTER_POOL_QUERY_FLUSH_SECONDS": str(FLUSH_SECONDS),
}
SLOW_FLUSH = (
    "CREATE FUNCTION slow_flush() RETURNS trigger LANGUAGE plpgsql"
    " AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$",
    "CREATE TRIGGER slow_flush AFTER INSERT ON raw_event FOR EACH STATEMENT EXECUTE FUNCTION slow_flush()",
)
"""Many flushes, each of at least 0.2 s, so that on any machine a stop or a kill meets one in the middle."""
APPLIED_SECONDS = 90.0
STOP_SECONDS = 20.0
"""What devtools.localcluster and most process managers grant before they kill."""


class Worker:
    """`celery worker` with one pool process, as an operator starts it; only its node name is its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = psutil.Process(process.pid)
        self._popen = process

    def stop(self) -> int:
        """SIGTERM, as a process manager sends it. Returns the exit code; raises TimeoutExpired past the limit."""
        self._popen.send_signal(signal.SIGTERM)
        return self._popen.wait(timeout=limit(STOP_SECONDS))

    def list_pullers(self) -> list[psutil.Process]:
        return [child for child in self.process.children() if "run_puller" in child.cmdline()]

    def find_owners(self) -> set[int]:
        """Pids of its pull processes that own partitions."""
        return {pid for pid in read_owners() if pid in {puller.pid for puller in self.list_pullers()}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    spec = ClusterSpec(shards=1, replicas_per_shard=0, partitions=PARTITIONS)
    with run_cluster(spec=spec, start=start_prepared_servers) as cluster:
        use_cluster(cluster)
        cluster.valkey(BROKER_SERVER).stop()
        for shard in get_cluster().topology.shards:
            with get_cluster().shard_transaction(shard.id) as connection:
                for statement in SLOW_FLUSH:
                    connection.execute(statement)
        yield cluster
        get_cluster().close()


@contextmanager
def run_worker(cluster: LocalCluster, name: str, *, pullers: int = 1) -> Iterator[Worker]:
    command = [
        sys.executable, "-m", "celery", "--app", "viewcounter.celery:app", "worker",
        "--hostname", f"{name}@local", "--concurrency", "1", "--loglevel", "INFO",
        "--without-gossip", "--without-mingle",
    ]  # fmt: skip
    settings = SETTINGS | {"VIEWCOUNTER_PULL_PROCESSES": str(pullers)}
    with (
        (cluster.state.root / f"{name}.log").open("w") as log,
        running(
            command, environment=cluster.environment | settings, stdout=log.fileno(), stderr=subprocess.STDOUT
        ) as process,
    ):
        yield Worker(process)


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


def count_applied() -> int:
    [row] = read_shards("SELECT coalesce(sum(count), 0)::bigint AS count FROM event_total")
    return int(row["count"])


def read_owners() -> list[int]:
    """The pid of the owner of each partition; 0: none."""
    rows = read_shards("SELECT owner FROM partition_state ORDER BY partition")
    return [int(row["owner"].split(":")[1]) if row["owner"] else 0 for row in rows]


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


def test_workers_that_stop_or_die_in_the_middle_of_flushes_count_every_event_once(cluster):
    backlog = Backlog()
    backlog.append(40_000)
    with run_worker(cluster, "first") as first:
        wait_until(lambda: find_draining() is not None, what="a drain in the middle of its partition")
        assert first.stop() == 0
    applied = count_applied()
    assert 0 < applied < backlog.event_count  # it did not go on to the end of the log
    assert read_shards("SELECT id FROM worker") == []

    with run_worker(cluster, "second") as second:
        wait_until(lambda: count_applied() > applied, what="the second worker to go on")
        cluster.database("shard1a").pause()  # the flush under way never ends by itself
        assert second.stop() == 0
        cluster.database("shard1a").resume()

    applied = count_applied()
    with run_worker(cluster, "third", pullers=2) as third:
        wait_until(lambda: len(third.find_owners()) == 2, what="both pull processes to own partitions")
        killed, _ = third.list_pullers()
        wait_until(lambda: count_applied() > applied, what="the third worker to go on")
        os.kill(killed.pid, signal.SIGKILL)
        wait_until(lambda: killed.pid not in read_owners(), what="its partitions to be taken over")
        wait_until(lambda: len(third.find_owners()) == 2, what="another one to get its share")
        backlog.append(20_000)
        applied, pullers = count_applied(), third.list_pullers()
        wait_until(lambda: count_applied() > applied, what="flushes under way")
        os.kill(third.process.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(lives, pullers)), what="pull processes to end with their worker")
    with run_worker(cluster, "fourth") as fourth:
        wait_until(fourth.find_owners, what="the fourth worker to own partitions")
        assert_applied(backlog.event_count)
        assert fourth.stop() == 0
