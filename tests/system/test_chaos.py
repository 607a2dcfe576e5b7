"""A minute of real load under kills, restarts and a zombie: acknowledged events = counts = ledger = raw rows."""

import os
import random
import signal
import threading
import time
from collections import Counter

import pytest

from localcluster import LocalCluster, run_temporary_cluster
from localcluster.waiting import Waiter
from tests.conftest import use_cluster
from tests.system.load import LoadClient
from viewcounter.cluster import get_cluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

CHAOS_SECONDS = 60.0
ZOMBIE_SECONDS = 20.0
CALM_SECONDS = (2.0, 6.0)
APPLIED_SECONDS = 60.0


@pytest.fixture(scope="module")
def cluster():
    with run_temporary_cluster() as cluster:
        cluster.start()
        yield cluster


class Chaos:
    """Faults in a random order from a seed; each one healed before the run is over."""

    def __init__(self, cluster: LocalCluster, *, seed: int) -> None:
        self._cluster = cluster
        self._rng = random.Random(seed)
        self.done: list[str] = []

    def run(self, *, seconds: float) -> None:
        zombie = threading.Thread(target=self.stop_a_worker_process_and_let_it_wake)
        zombie.start()
        faults = [self.kill_workers, self.kill_one_worker_process, self.kill_a_primary, self.kill_the_log]
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            self._rng.shuffle(faults)
            for fault in faults:
                fault()
                self.done.append(fault.__name__)
                time.sleep(self._rng.uniform(*CALM_SECONDS))
        zombie.join()

    def kill_workers(self) -> None:
        worker = self._cluster.application("worker")
        worker.kill()
        worker.start()
        worker.wait_ready()

    def kill_one_worker_process(self) -> None:
        children = self._cluster.application("worker").list_child_pids()
        if children:
            os.kill(self._rng.choice(children), signal.SIGKILL)

    def kill_a_primary(self) -> None:
        self._restart(self._rng.choice(["shard1a", "shard2a"]))

    def kill_the_log(self) -> None:
        self._restart("log")

    def stop_a_worker_process_and_let_it_wake(self) -> None:
        """A process that sleeps through what others do in its place, and then goes on with what it had in hand."""
        time.sleep(self._rng.uniform(1, 3))
        sleeper = self._cluster.application("worker").list_child_pids()[0]
        os.kill(sleeper, signal.SIGSTOP)
        time.sleep(ZOMBIE_SECONDS)
        try:
            os.kill(sleeper, signal.SIGCONT)
        except ProcessLookupError:
            self.done.append("the zombie was killed in its sleep")
        else:
            self.done.append("the zombie woke up")

    def _restart(self, name: str) -> None:
        server = self._cluster.server(name)
        server.kill()
        time.sleep(self._rng.uniform(0, 2))
        server.start()
        server.wait_ready()


def read_shards(sql: str):
    cluster = get_cluster()
    rows = []
    for shard in cluster.topology.shards:
        with cluster.shard_transaction(shard.id) as connection:
            rows += connection.execute(sql).fetchall()
    return rows


@pytest.mark.parametrize("seed", [20261124])
def test_a_minute_of_chaos_loses_and_doubles_nothing(cluster: LocalCluster, seed: int):
    use_cluster(cluster)
    key = cluster.run_command("create_api_key", "load", "--scopes", "events:write", "--quiet").strip()
    chaos = Chaos(cluster, seed=seed)
    with LoadClient(cluster.web_url, key, seed=seed) as load:
        chaos.run(seconds=CHAOS_SECONDS)
    story = f"seed {seed}, {chaos.done}, answers {load.statuses}"
    assert load.refused == [], story
    assert len(load.acknowledged) > 0

    Waiter().wait_until(
        lambda: find_lag(load), within_seconds=APPLIED_SECONDS, what="everything acknowledged to be applied"
    )
    raw = Counter(row["event_id"] for row in read_shards("SELECT event_id FROM raw_event"))
    assert raw == Counter(load.acknowledged.keys()), story
    names = {row["id"]: row["name"] for row in read_shards("SELECT id, name FROM event_type")}
    for table in ("event_total", "event_minute"):
        counts: Counter[tuple[str, str]] = Counter()
        for row in read_shards(f"SELECT video_id, event_type_id, count FROM {table}"):  # noqa: S608
            counts[row["video_id"], names[row["event_type_id"]]] += row["count"]
        assert counts == load.expect_counts(), f"{table}: {story}"
    ledger = read_shards(
        "SELECT sum(counted) AS counted, sum(conflict) AS conflict, sum(dead_lettered) AS dead FROM ledger"
    )
    assert sum(row["counted"] for row in ledger) == len(load.acknowledged), story
    assert sum(row["conflict"] + row["dead"] for row in ledger) == 0, story
    assert read_shards("SELECT reason, detail FROM dead_letter") == []
    get_cluster().close()


def find_lag(load: LoadClient) -> str | None:
    [*rows] = read_shards("SELECT min(watermark) AS watermark FROM partition_state")
    oldest = min(row["watermark"] for row in rows)
    return None if oldest > load.last_acknowledged_at else f"complete until {oldest}"
