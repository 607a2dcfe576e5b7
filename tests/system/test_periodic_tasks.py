"""Two beats and a worker as `bin/up` runs them: tasks are sent also when a beat is killed, and no line is logged."""

import re
import socket
from collections.abc import Iterator
from urllib.request import urlopen

import pytest

from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.localcluster.ports import LOOPBACK
from tests.clusters import run_cluster, start_prepared_servers
from tests.waiting import wait_until

pytestmark = pytest.mark.system

TASK = "measure_moves"
INTERVAL_SECONDS = 0.5
BEATS = ("beat", "beat2")


def find_free_address() -> str:
    with socket.create_server((LOOPBACK, 0)) as server:
        return f"{LOOPBACK}:{server.getsockname()[1]}"


METRICS = find_free_address()


def start_periodic_work(cluster: LocalCluster) -> None:
    start_prepared_servers(cluster)
    for name in ("worker", *BEATS):
        cluster.application(name).start()
    cluster.application("worker").wait_ready()


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    settings = {
        "VIEWCOUNTER_BEAT_CLUSTER_INTERVAL_SECONDS": str(INTERVAL_SECONDS),
        "VIEWCOUNTER_WORKER_METRICS_BIND": METRICS,
    }
    spec = ClusterSpec(shards=1, replicas_per_shard=0, partitions=4, worker_processes=1)
    with run_cluster(spec=spec, settings=settings, start=start_periodic_work) as cluster:
        yield cluster


def count_done() -> int:
    """Tasks of this kind that the worker has done."""
    with urlopen(f"http://{METRICS}/metrics", timeout=5.0) as answer:
        found = re.search(rf'viewcounter_task_seconds_count{{task="{TASK}"}} (\S+)', answer.read().decode())
    return int(float(found[1])) if found else 0


def find_sender(cluster: LocalCluster) -> str:
    """The beat that took the lease last, by the logs."""
    with cluster.valkey("broker").session() as broker:
        assert broker.exists("viewcounter:beat")
    senders = [name for name in BEATS if "sends the periodic tasks" in read_log(cluster, name)]
    return senders[-1]


def read_log(cluster: LocalCluster, name: str) -> str:
    return cluster.state.get_log_path(name).read_text()


def wait_for_more(count: int) -> None:
    done = count_done()
    wait_until(lambda: count_done() >= done + count, what=f"{count} more tasks to be done")


def test_tasks_go_on_without_the_beat_that_sent_them_and_without_a_line_for_each(cluster):
    wait_for_more(3)
    killed = find_sender(cluster)
    [other] = [name for name in BEATS if name != killed]
    assert "stands by" not in read_log(cluster, killed)
    cluster.application(killed).kill()
    wait_until(lambda: "sends the periodic tasks" in read_log(cluster, other), what="the other beat to take over")
    wait_for_more(3)
    for name in ("worker", *BEATS):
        assert TASK not in read_log(cluster, name)
