"""Primaries die, freeze and are exchanged under load: every acknowledged event is counted once, no post fails.

One cluster for all tests; each leaves it whole, and the proof at the end of each covers everything sent in it. What the
quick drill does to a primary as well is repeated among the long tests only.
"""

import os
import signal
import time
from contextlib import contextmanager

import pytest
from django.db import connections

from configservice.failover.durability_change import set_durability
from configservice.failover.records import Failover, ShardCondition
from configservice.failover.shard_reports import read_reports
from configservice.models import Instance, Shard
from configservice.topology.model import Durability
from configservice.topology.publication import publish
from devtools.drill.tcp_proxy import TcpProxies
from devtools.localcluster import LocalCluster
from devtools.localcluster.errors import ProgramFailed
from shardproxy.query import Query, QueryClass
from tests.system.conftest import clear_events
from tests.system.exactness import assert_exactly_acknowledged, read_shards
from tests.system.failing_over import (
    await_whole,
    get_primary,
    get_shard,
    make_whole,
    read_roles,
)
from tests.system.steady_load import post_steadily, read_steadily
from tests.waiting import wait_until
from viewcounter.cluster import get_cluster
from viewcounter.health.cluster_health import probe_cluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

SHARD = "shard1"
WARM_SECONDS = 1.5
BEHIND_SECONDS = 5.0


@pytest.fixture(scope="module")
def cluster(shared_cluster: LocalCluster, django_db_blocker):
    with django_db_blocker.unblock():
        yield shared_cluster


@pytest.fixture(scope="module")
def key(cluster):
    return cluster.run_command("create_api_key", "failover", "--scopes", "events:write,stats:read", "--quiet").strip()


@pytest.fixture(autouse=True)
def whole_cluster(cluster: LocalCluster):
    yield
    make_whole(cluster)


@contextmanager
def running_load(cluster, key, *, seed):
    """Posts and reads during the context; afterwards every acknowledged event is counted once and no request failed."""
    clear_events()
    with read_steadily(cluster, key) as reads, post_steadily(cluster, key, seed=seed) as load:
        time.sleep(WARM_SECONDS)
        yield reads, load
    assert_exactly_acknowledged(load, story=f"answers {load.statuses}")
    assert set(load.statuses) == {"202"}
    assert reads.failed == []
    assert reads.answered > 0


def list_terms():
    return {row["term"] for row in read_shards("SELECT term FROM shard_identity")}


@pytest.mark.long(minutes=0.5)
def test_killing_a_primary_loses_nothing(cluster, key):
    old, term = get_primary(SHARD), get_shard(SHARD).term
    with running_load(cluster, key, seed=1):
        os.kill(cluster.database(old).pid, signal.SIGKILL)
        wait_until(lambda: get_primary(SHARD) != old, what="another primary")
        await_whole(SHARD)
    assert get_shard(SHARD).term == term + 1
    assert term + 1 in list_terms()
    record = Failover.objects.filter(shard__name=SHARD).first()
    assert (record.kind, record.state, record.old_primary) == ("automatic", "done", old)


def test_a_frozen_primary_is_replaced_and_serves_nothing_when_it_wakes(cluster, key):
    old = get_primary(SHARD)
    zombie = cluster.database(old)
    with running_load(cluster, key, seed=2):
        zombie.pause()
        wait_until(lambda: get_primary(SHARD) != old, what="another primary")
        assert read_roles(SHARD)[old] == "fenced"
        time.sleep(WARM_SECONDS)
        zombie.resume()
        await_whole(SHARD)
    assert zombie.is_replica


@pytest.mark.long(minutes=0.5)
def test_leader_and_stores_that_die_with_the_primary_only_delay_its_failover(cluster, key):
    """The supervisor brings all of them back but the primary; no request fails meanwhile."""
    old = get_primary(SHARD)
    victims = [cluster.server("control"), cluster.server("broker"), cluster.application(find_leader(cluster))]
    with running_load(cluster, key, seed=3):
        for victim in victims:
            os.kill(victim.pid, signal.SIGKILL)
        cluster.database(old).kill()
        wait_until(lambda: get_primary(SHARD) not in ("", old), what="another primary")
        cluster.database(old).start()
        await_whole(SHARD)
    connections.close_all()


@pytest.mark.long(minutes=0.5)
def test_a_shard_that_wants_a_quorum_says_what_it_lacks_when_its_replica_is_promoted(cluster, key):
    """One replica to confirm each commit: none is left, so commits do not wait until the old primary is back."""
    old = get_primary(SHARD)
    promoted = next(name for name in read_roles(SHARD) if name != old)
    set_durability(shard=SHARD, durability=Durability.QUORUM, actor="test")
    wait_until(lambda: read_names(cluster, old) == f'ANY 1 ("{promoted}")', what="the primary to be told")
    with running_load(cluster, key, seed=10):
        cluster.database(old).kill()
        wait_until(lambda: get_primary(SHARD) == promoted, what="the replica to be primary")
        assert read_names(cluster, promoted) == ""
        wait_until(lambda: read_told() == ("degraded", "without replica"), what="the shard to say what it lacks")
        cluster.database(old).start()
        await_whole(SHARD)
        wait_until(lambda: read_names(cluster, promoted) == f'ANY 1 ("{old}")', what="the new primary to wait for it")
    wait_until(lambda: read_told() == ("met", "well"), what="the shard to be well")
    set_durability(shard=SHARD, durability=Durability.ASYNC, actor="test")


def read_names(cluster, name):
    with cluster.database(name).connect() as connection:
        return connection.execute("SHOW synchronous_standby_names").fetchone()[0]


def read_told():
    """The durability as in `bin/status`, `/readyz` and `/v1/cluster`."""
    _, shards = probe_cluster(get_cluster(), timeout_seconds=2.0, max_lag_seconds=60.0)
    durability = next(health.durability for health in shards if health.shard.name == SHARD)
    return durability.value, read_reports()[SHARD].condition.value


@pytest.mark.long(minutes=0.5)
def test_a_frozen_leader_is_put_out_and_changes_nothing_when_it_wakes(cluster, key):
    old = get_primary(SHARD)
    leader = cluster.application(find_leader(cluster))
    with running_load(cluster, key, seed=4):
        leader.pause()
        cluster.database(old).kill()
        wait_until(lambda: get_primary(SHARD) != old, what="another primary")
        epoch = get_cluster().topology.epoch
        leader.resume()
        time.sleep(WARM_SECONDS)
        assert get_cluster().topology.epoch == epoch
        cluster.database(old).start()
        await_whole(SHARD)
    assert find_leader(cluster) != leader.name


def find_leader(cluster):
    """The leader by the last heartbeats of the config services."""
    found = {}

    def has_leader():
        for name in ("configservice1", "configservice2"):
            lines = cluster.state.get_log_path(name).read_text().splitlines()
            said = [line for line in lines if " leads, leader generation" in line or "no longer leads" in line]
            if said and " leads, leader generation" in said[-1]:
                found[int(said[-1].split("generation ")[1].split(",")[0])] = name
        return bool(found)

    wait_until(has_leader, what="a leader")
    return found[max(found)]


def test_a_switchover_fails_no_request(cluster, key):
    old = get_primary(SHARD)
    with running_load(cluster, key, seed=5):
        said = cluster.run_command("switchover", "--shard", SHARD, "--yes", "--reason", "practice")
        await_whole(SHARD)
    assert get_primary(SHARD) != old
    assert f"{old} -> {get_primary(SHARD)}" in said
    assert "writes paused for" in said


def test_without_a_promotable_replica_reads_go_on_and_writes_wait_in_the_log(cluster, key):
    primary = get_primary(SHARD)
    replica = next(name for name in read_roles(SHARD) if name != primary)
    with post_steadily(cluster, key, seed=6) as load:
        time.sleep(WARM_SECONDS)
        set_promotable(replica, False)
        with read_steadily(cluster, key) as reads:
            cluster.database(primary).kill()
            wait_until(lambda: read_condition() == "without primary", what="the condition to be told")
            before = len(load.acknowledged)
            wait_until(lambda: len(load.acknowledged) > before, what="posts to go on")
            assert get_primary(SHARD) == primary
        assert reads.failed == []
        set_promotable(replica, True)
        wait_until(lambda: get_primary(SHARD) == replica, what="the replica, promotable again, to be promoted")
    assert set(load.statuses) == {"202"}
    cluster.database(primary).start()


def read_condition():
    return ShardCondition.objects.get(shard__name=SHARD).condition


def set_promotable(name, promotable):
    Instance.objects.filter(name=name).update(promotable=promotable)
    publish(reason="test", actor="test")


@pytest.mark.long(minutes=0.5)
def test_the_log_brings_what_a_promoted_replica_lacks(cluster, key):
    old = get_primary(SHARD)
    replica = next(name for name in read_roles(SHARD) if name != old)
    with TcpProxies() as proxies:
        proxy = proxies.open(old, cluster.database(old).port)
        follow_through(cluster.database(replica), proxy)
        with running_load(cluster, key, seed=7):
            wait_until(lambda: is_streaming(cluster.database(replica)), what="the replica to follow through the link")
            proxy.hold()
            # However slowly this machine counts meanwhile.
            wait_until(
                lambda: read_newest_ms(cluster, old) - read_newest_ms(cluster, replica) >= BEHIND_SECONDS * 1000,
                what=f"the replica to be {BEHIND_SECONDS:g} s behind",
            )
            cluster.database(old).kill()
            wait_until(lambda: get_primary(SHARD) == replica, what="the replica to be primary")
            cluster.database(old).start()
            await_whole(SHARD)


@pytest.mark.long(minutes=0.5)
def test_reads_and_writes_go_on_without_replicas(cluster, key):
    replicas = {name for shard in ("shard1", "shard2") for name, role in read_roles(shard).items() if role == "replica"}
    assert len(replicas) == 2
    wait_until(lambda: list_reading_instances() == replicas, what="reads from replicas")
    with running_load(cluster, key, seed=9) as (reads, load):
        for name in replicas:
            cluster.server(name).stop()
        read, acknowledged = reads.answered, len(load.acknowledged)
        wait_until(lambda: reads.answered > read + 20, what="reads to go on")
        wait_until(lambda: len(load.acknowledged) > acknowledged + 1000, what="posts to go on")
        assert list_reading_instances() == {get_primary("shard1"), get_primary("shard2")}
        for name in replicas:
            cluster.server(name).start()
        wait_until(lambda: list_reading_instances() == replicas, what="reads from replicas again")


def list_reading_instances():
    """Which instance answers a read of each shard right now."""
    query = Query("whoami", "SELECT 1 AS one", QueryClass.POINT)
    return {result.instance for result in get_cluster().scatter(query, {}).results.values()}


def follow_through(replica, proxy):
    """Set another address than the topology's, as an operator would."""
    with replica.connect(user="postgres") as connection:
        conninfo = connection.execute("SELECT current_setting('primary_conninfo')").fetchone()[0]
        through = " ".join(f"port={proxy.port}" if part.startswith("port=") else part for part in conninfo.split())
        connection.execute(f"ALTER SYSTEM SET primary_conninfo = '{through}'")
        connection.execute("SELECT pg_reload_conf()")


def is_streaming(replica):
    with replica.connect(user="postgres") as connection:
        return connection.execute("SELECT status FROM pg_stat_wal_receiver").fetchone() == ("streaming",)


def read_newest_ms(cluster, name):
    """The newest event that an instance has applied, by the log's clock."""
    with cluster.database(name).connect() as connection:
        positions = [text for (text,) in connection.execute("SELECT position FROM partition_state")]
    return max(int(text.split("-")[0]) for text in positions)


def test_a_promotion_by_another_manager_is_followed_and_no_server_is_touched(cluster, key):
    old = get_primary("shard2")
    replica = next(name for name in read_roles("shard2") if name != old)
    Shard.objects.filter(name="shard2").update(failover_mode="external")
    term = get_shard("shard2").term
    with running_load(cluster, key, seed=8):
        with cluster.database(replica).connect(user="postgres") as connection:
            connection.execute("SELECT pg_promote()")
        wait_until(lambda: get_primary("shard2") == replica, what="the promotion to be followed")
        await_whole("shard2")
    record = Failover.objects.filter(shard__name="shard2").first()
    assert (record.kind, record.state, record.candidate, record.term) == ("followed", "done", replica, term + 1)
    with pytest.raises(ProgramFailed, match="an external manager controls"):
        cluster.run_command("failover", "--shard", "shard2", "--yes")
    for name in (old, replica):
        with cluster.database(name).connect(user="postgres") as connection:
            rows = connection.execute(
                "SELECT name FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf' AND name <> 'primary_conninfo'"
            ).fetchall()
        assert rows == []
    Shard.objects.filter(name="shard2").update(failover_mode="")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("failover", "--shard", "shard9"), "there is no shard 'shard9'; known shards: shard1, shard2"),
        (
            ("switchover", "--shard", "shard1", "--to", "shard2b"),
            "shard2b is not an instance of shard1; known instances:",
        ),
    ],
)
def test_a_request_that_names_nothing_known_is_refused(cluster, command, message):
    with pytest.raises(ProgramFailed, match=message):
        cluster.run_command(*command, "--yes")


def test_a_switchover_to_the_primary_itself_is_refused_and_changes_nothing(cluster):
    primary, epoch = get_primary(SHARD), get_cluster().topology.epoch
    with pytest.raises(ProgramFailed, match=f"{primary} is the primary of {SHARD}"):
        cluster.run_command("switchover", "--shard", SHARD, "--to", primary, "--yes")
    assert get_cluster().topology.epoch == epoch
