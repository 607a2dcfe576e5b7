"""A minute of real load under kills, restarts and a zombie: acknowledged events = counts = ledger = raw rows."""

import os
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest

from localcluster import ClusterSpec, LocalCluster, run_temporary_cluster
from tests.conftest import use_cluster
from tests.system.exactness import assert_exactly_acknowledged
from tests.system.load import LoadClient
from viewcounter.cluster import get_cluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

CHAOS_SECONDS = 60.0
ZOMBIE_SECONDS = 20.0
CALM_SECONDS = (2.0, 6.0)
LOAD_SECONDS = 6.0
COPY_SECONDS = 60


@pytest.fixture
def cluster():
    with run_temporary_cluster() as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def cluster_by_hand():
    """Nobody promotes anybody."""
    with run_temporary_cluster(spec=ClusterSpec(config_services=0)) as cluster:
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


@pytest.mark.parametrize("seed", [20261124])
def test_a_minute_of_chaos_loses_and_doubles_nothing(cluster: LocalCluster, seed: int):
    use_cluster(cluster)
    key = cluster.run_command("create_api_key", "load", "--scopes", "events:write", "--quiet").strip()
    chaos = Chaos(cluster, seed=seed)
    with LoadClient(cluster.web_url, key, seed=seed) as load:
        chaos.run(seconds=CHAOS_SECONDS)
    story = f"seed {seed}, {chaos.done}, answers {load.statuses}"
    assert_exactly_acknowledged(load, story=story)
    get_cluster().close()


def test_a_shard_restored_to_an_older_state_becomes_exact_by_itself(cluster_by_hand: LocalCluster, tmp_path):
    cluster = cluster_by_hand
    use_cluster(cluster)
    primary, replica = cluster.database("shard1a"), cluster.database("shard1b")
    key = cluster.run_command("create_api_key", "older", "--scopes", "events:write", "--quiet").strip()
    copy = tmp_path / "copy"
    with LoadClient(cluster.web_url, key, seed=7) as load:
        time.sleep(LOAD_SECONDS)
        primary.kill()
        subprocess.run(["cp", "-a", str(primary.data_dir), str(copy)], check=True, timeout=COPY_SECONDS)
        primary.start()
        primary.wait_ready()
        before = read_positions(primary)
        time.sleep(LOAD_SECONDS)
        assert any(before[p] != position for p, position in read_positions(primary).items())

        primary.kill()
        replica.kill()
        for member, source in ((primary, copy), (replica, None)):
            shutil.rmtree(member.data_dir)
            if source is not None:
                subprocess.run(["cp", "-a", str(source), str(member.data_dir)], check=True, timeout=COPY_SECONDS)
        primary.start()
        primary.wait_ready()
        cluster.reseed_replica("shard1b")
        time.sleep(LOAD_SECONDS)
    assert_exactly_acknowledged(load, story=f"answers {load.statuses}")
    get_cluster().close()


def read_positions(server):
    with server.connect() as connection:
        return dict(connection.execute("SELECT partition, position FROM partition_state").fetchall())
