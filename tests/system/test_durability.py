"""The durability of commits, changed at run time, and counting while a replica is missing."""

import json

import pytest
import urllib3
from django.db import connections

from configservice.errors import DurabilityRefused
from configservice.failover.durability_change import set_durability as change_durability
from configservice.topology.model import Durability, StandbyLoss
from devtools.localcluster import ClusterSpec, LocalCluster
from tests.clusters import SELDOM, run_cluster
from tests.conftest import use_cluster
from tests.pace import limit
from tests.system.exactness import assert_exactly_acknowledged, read_shards
from tests.system.steady_load import post_steadily
from tests.waiting import wait_until
from viewcounter.cluster import get_cluster

pytestmark = pytest.mark.system

SHARD = "shard1"
BOTH = 'ANY 2 ("shard1b", "shard1c")'


@pytest.fixture(scope="module")
def cluster(django_db_blocker):
    """One shard of a primary and two replicas, with everything that runs beside it."""
    spec = ClusterSpec(shards=1, replicas_per_shard=2, partitions=4, config_services=1, worker_processes=1)
    with run_cluster(spec=spec, settings=SELDOM) as cluster, django_db_blocker.unblock():
        use_cluster(cluster)
        yield cluster
        get_cluster().close()
        connections.close_all()


@pytest.fixture(scope="module")
def keys(cluster: LocalCluster) -> dict[str, str]:
    return {
        scope: cluster.run_command("create_api_key", scope, "--scopes", scope).strip().splitlines()[-1].split()[-1]
        for scope in ("events:write", "admin")
    }


@pytest.fixture(scope="module")
def load(cluster: LocalCluster, keys):
    """Sends continuously, during every test."""
    with post_steadily(cluster, keys["events:write"], seed=1, threads=1) as load:
        yield load


@pytest.fixture
def admin(cluster: LocalCluster, keys):
    pool = urllib3.PoolManager(retries=False, timeout=limit(10.0))

    def get(path: str) -> dict:
        answer = pool.request("GET", cluster.web_url + path, headers={"Authorization": f"Bearer {keys['admin']}"})
        assert answer.status == 200, answer.data
        return json.loads(answer.data)

    return get


def set_durability(*, durability: Durability, quorum: int = 1, rule: StandbyLoss = StandbyLoss.DEGRADE) -> None:
    change_durability(shard=SHARD, durability=durability, quorum=quorum, on_standby_loss=rule, actor="test")


def read_setting(cluster: LocalCluster) -> str:
    with cluster.database("shard1a").connect() as connection:
        return connection.execute("SHOW synchronous_standby_names").fetchone()[0]


def await_setting(cluster: LocalCluster, setting: str) -> None:
    wait_until(lambda: read_setting(cluster) == setting, what=f"the primary to be told {setting!r}")


def read_positions() -> list[str]:
    return [row["position"] for row in read_shards("SELECT position FROM partition_state ORDER BY partition")]


def await_growth() -> None:
    """Wait until every partition has applied more than now."""
    before = read_positions()
    wait_until(
        lambda: all(new != old for new, old in zip(read_positions(), before, strict=True)), what="positions to move"
    )


def find_durability(admin) -> tuple[str, str]:
    durability = admin("/v1/cluster")["shards"][0]["durability"]
    return durability["state"], durability["reason"]


def test_the_mode_changes_under_load_without_an_error(cluster: LocalCluster, load, admin):
    await_growth()
    for durability, setting in (
        (Durability.QUORUM, 'ANY 1 ("shard1b", "shard1c")'),
        (Durability.ALL, BOTH),
        (Durability.ASYNC, ""),
    ):
        set_durability(durability=durability)
        await_setting(cluster, setting)
        await_growth()
    told = cluster.run_command("set_durability", "--shard", SHARD, "--mode", "all", "--reason", "before the holidays")
    assert told.splitlines()[-1] == "shard1: met, commits wait as the durability requires"
    assert read_setting(cluster) == BOTH
    await_growth()
    assert set(load.statuses) == {"202"}
    assert find_durability(admin) == ("met", "")
    (newest,) = admin("/v1/cluster/history?limit=1")["entries"]
    assert newest["reason"] == "before the holidays"
    assert {(c["field"], c["before"], c["after"]) for c in newest["changes"]} == {("durability", "async", "all")}


def test_a_lost_replica_degrades_visibly_and_is_waited_for_again_when_it_is_back(cluster: LocalCluster, load, admin):
    set_durability(durability=Durability.ALL)
    await_setting(cluster, BOTH)
    lost = cluster.database("shard1b")
    lost.kill()
    try:
        await_setting(cluster, 'ANY 1 ("shard1c")')
        await_growth()
        reason = "commits wait for 1 of 2 replicas"
        assert find_durability(admin) == ("degraded", reason)
        ready = urllib3.request("GET", f"{cluster.web_url}/readyz")
        assert (ready.status, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["parts"]["shard1 durability"] == {"status": "degraded", "reason": reason}
    finally:
        lost.start()
        lost.wait_ready()
    await_setting(cluster, BOTH)
    await_growth()
    assert set(load.statuses) == {"202"}


def test_a_frozen_replica_is_a_lost_one(cluster: LocalCluster, load):
    """Its primary still takes it for streaming."""
    set_durability(durability=Durability.ALL)
    await_setting(cluster, BOTH)
    frozen = cluster.database("shard1c")
    frozen.pause()
    try:
        await_setting(cluster, 'ANY 1 ("shard1b")')
        await_growth()
    finally:
        frozen.resume()
    await_setting(cluster, BOTH)


def test_where_loss_blocks_nothing_is_counted_until_the_replica_is_back(cluster: LocalCluster, load, admin):
    set_durability(durability=Durability.ALL, rule=StandbyLoss.BLOCK)
    lost = cluster.database("shard1b")
    await_growth()
    lost.kill()
    try:
        wait_until(lambda: find_durability(admin)[0] == "blocked", what="the shard to say that it is blocked")
        blocked_at = read_positions()
        acknowledged = len(load.acknowledged)
        wait_until(lambda: len(load.acknowledged) > acknowledged + 200, what="events to be accepted meanwhile")
        assert read_positions() == blocked_at
        assert read_setting(cluster) == BOTH
    finally:
        lost.start()
        lost.wait_ready()
    await_growth()
    wait_until(lambda: find_durability(admin) == ("met", ""), what="the durability to be met")
    assert set(load.statuses) == {"202"}


def test_what_could_never_be_met_is_refused_and_changes_nothing(cluster: LocalCluster, admin):
    before = admin("/v1/cluster")["epoch"]
    with pytest.raises(DurabilityRefused, match="the shard has 2 replicas to wait for, not 3"):
        set_durability(durability=Durability.QUORUM, quorum=3)
    assert admin("/v1/cluster")["epoch"] == before


def test_after_all_of_it_every_acknowledged_event_is_counted_exactly_once(load):
    load.settle()
    assert_exactly_acknowledged(load, story="modes switched, standbys killed and frozen, under load")
