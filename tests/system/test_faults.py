"""Real kills in the middle of real load: every acknowledged event is counted exactly once.

The replay retries what was not acknowledged, under the same ids, until all is; then it compares every count with the
truth. So an event that was acknowledged and lost, or stored and counted again by its retry, is a wrong count.
"""

import os
import signal

import psutil
import pytest

from configservice.topology import Role
from localcluster import ClusterSpec, LocalCluster, run_temporary_cluster
from localcluster.waiting import Waiter
from shardproxy.query import Query, QueryClass
from tests.conftest import use_cluster
from tests.system.running_replay import RunningReplay
from viewcounter.cluster import get_cluster

pytestmark = pytest.mark.system

LOAD = ("--scale", "5000", "--threads", "2")
HEAL_SECONDS = 30.0


@pytest.fixture(scope="module")
def cluster():
    with run_temporary_cluster(spec=ClusterSpec(web_workers=2)) as cluster:
        cluster.start()
        yield cluster


def assert_exact(report):
    assert report["wrong_counts"] == []
    assert report["wrong_count"] == 0
    assert report["accepted"] == report["sent"] + report["duplicates_sent"]
    assert (report["wrongly_refused"], report["wrongly_accepted"]) == ([], [])
    assert report["exact"] is True


def kill_each(pids):
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def await_replacement(member, killed):
    """The supervisor starts what died, with a delay."""
    wait_until(lambda: member.is_running and member.pid != killed, what=f"another {member.name}")
    member.wait_ready(within_seconds=HEAL_SECONDS)


def wait_until(condition, *, what):
    Waiter().wait_until(lambda: None if condition() else "not yet", within_seconds=HEAL_SECONDS, what=what)


def test_killing_every_celery_process_thrice_loses_and_doubles_nothing(cluster: LocalCluster):
    worker = cluster.application("worker")
    with RunningReplay(cluster, *LOAD) as replay:
        for share in (0.1, 0.4, 0.7):
            replay.wait_for_share(share)
            killed = worker.pid
            kill_each([killed, *worker.list_child_pids()])
            await_replacement(worker, killed)
        assert_exact(replay.read_report())


def test_killing_the_log_server_loses_and_doubles_nothing(cluster: LocalCluster):
    log = cluster.server("log")
    with RunningReplay(cluster, *LOAD) as replay:
        for share in (0.2, 0.5):
            replay.wait_for_share(share)
            killed = log.pid
            kill_each([killed])
            await_replacement(log, killed)
        assert_exact(replay.read_report())


def test_killing_each_gateway_worker_loses_and_doubles_nothing(cluster: LocalCluster):
    web = cluster.application("web")
    with RunningReplay(cluster, *LOAD) as replay:
        for share in (0.2, 0.5, 0.7):
            replay.wait_for_share(share)
            before = set(web.list_child_pids())
            assert len(before) == 2
            kill_each(before)
            wait_until(lambda before=before: has_new_children(web, before), what="new gateway workers")
        report = replay.read_report()
    assert_exact(report)
    assert report["retries"] > 0


def has_new_children(member, before):
    children = {p for p in member.list_child_pids() if psutil.pid_exists(p)}
    return len(children - before) == len(before)


def test_reads_and_writes_go_on_without_replicas_which_are_used_again_when_they_are_back(cluster: LocalCluster):
    use_cluster(cluster)
    proxy = get_cluster()
    replicas = {i.name for s in proxy.topology.shards for i in s.instances if i.role is Role.REPLICA}
    assert replicas == {"shard1b", "shard2b"}
    wait_until(lambda: reading_instances(proxy) == replicas, what="reads from replicas")
    for name in replicas:
        cluster.server(name).stop()
    with RunningReplay(cluster, *LOAD) as replay:
        replay.wait_for_share(0.3)
        assert reading_instances(proxy) == {"shard1a", "shard2a"}
        assert_exact(replay.read_report())
    for name in replicas:
        cluster.server(name).start()
        cluster.server(name).wait_ready()
    wait_until(lambda: reading_instances(proxy) == replicas, what="reads from replicas again")
    proxy.close()


def reading_instances(proxy):
    """Which instance answers a read of each shard right now."""
    query = Query("whoami", "SELECT 1 AS one", QueryClass.POINT)
    return {result.instance for result in proxy.scatter(query, {}).results.values()}
