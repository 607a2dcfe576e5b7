"""A control database under Patroni loses its leader in four ways: clients with all hosts go on, and nothing is lost."""

import importlib.util
import time
from contextlib import suppress

import psycopg
import pytest

from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.localcluster.patroni import TTL_SECONDS, PatroniServer
from tests.pace import limit
from tests.waiting import wait_until

pytestmark = [pytest.mark.system, pytest.mark.long(minutes=4)]

WHOLE_SECONDS = 60.0


@pytest.fixture
def cluster(tmp_path):
    if importlib.util.find_spec("patroni") is None:
        pytest.skip("Patroni is not installed: A CONTROL DATABASE WITH REPLICAS IS NOT TESTED HERE")
    spec = ClusterSpec(shards=1, replicas_per_shard=0, partitions=4, control_replicas=2)
    with LocalCluster(tmp_path, spec=spec) as cluster:
        cluster.start_servers()
        yield cluster


def connect(cluster: LocalCluster) -> psycopg.Connection:
    """As every process does: of all hosts, the one that takes writes."""
    settings = {
        name.removeprefix("VIEWCOUNTER_CONTROL_DATABASE_"): value for name, value in cluster.environment.items()
    }
    return psycopg.connect(
        host=settings["HOST"],
        port=settings["PORT"],
        dbname=settings["NAME"],
        user=settings["USER"],
        password=settings["PASSWORD"],
        connect_timeout=1,
        target_session_attrs="read-write",
        options="-c statement_timeout=1s",
        autocommit=True,
    )


def write(cluster: LocalCluster, number: int) -> bool:
    with suppress(psycopg.Error), connect(cluster) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS written (number integer)")
        connection.execute("INSERT INTO written VALUES (%s)", [number])
        return True
    return False


def get_leader(cluster: LocalCluster) -> PatroniServer:
    with connect(cluster) as connection:
        port = connection.info.port
    return next(server for server in cluster.layout.controls if server.port == port)


def test_every_loss_of_the_leader_is_got_over_with_all_that_was_written(cluster):
    def kill_server(leader):
        leader.find_server()[0].kill()

    def freeze_server(leader):
        for process in leader.find_server():
            process.suspend()

    def resume_server(leader):
        for process in leader.find_server():
            process.resume()

    losses = (
        (kill_server, lambda _: None),
        (PatroniServer.kill, PatroniServer.start),
        (freeze_server, resume_server),
        (PatroniServer.pause, PatroniServer.resume),
    )
    for number, (strike, heal) in enumerate(losses):
        for server in cluster.layout.controls:
            server.wait_ready(within_seconds=limit(WHOLE_SECONDS))
        leader = get_leader(cluster)
        struck_at = time.monotonic()
        strike(leader)
        wait_until(lambda n=number: write(cluster, n), what="the control database to take writes")
        assert time.monotonic() - struck_at < limit(2 * TTL_SECONDS)
        heal(leader)
    with connect(cluster) as connection:
        rows = connection.execute("SELECT DISTINCT number FROM written ORDER BY number").fetchall()
    assert [row[0] for row in rows] == list(range(len(losses)))


def test_nothing_is_left_behind_after_a_stop(cluster):
    servers = cluster.layout.controls
    processes = [process for server in servers for process in server.find_processes(server.pid)]
    cluster.stop()
    assert not [process for process in processes if process.is_running()]
