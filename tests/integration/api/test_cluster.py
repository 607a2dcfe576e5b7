"""The cluster as it is right now, at an address."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections

from configservice.failover.records import Failover, ShardCondition
from configservice.models import Move, Shard
from configservice.moves.records import plan_moves
from configservice.registry.services import Service, ServiceKind, put_heartbeat, remove_service
from configservice.topology.cluster_cache import get_cluster_cache
from tests.integration.api.conftest import Api
from viewcounter.storage.partitions import EXPECTED_SCHEMA_VERSION

CLUSTER = "/v1/cluster"


@pytest.fixture
def worker(api: Api):
    service = Service("w", ServiceKind.WORKER, "host1", 7, "0.1.0", "local", datetime(2026, 1, 1, tzinfo=UTC))
    put_heartbeat(get_cluster_cache(), service, forget_seconds=60.0)
    yield service
    remove_service(get_cluster_cache(), "w")


def test_shards_say_their_term_primary_partitions_durability_and_instances(api: Api, servers, worker):
    answer = api.get(CLUSTER, CLUSTER, scope="admin")
    topology = api.cluster.topology
    assert (answer["epoch"], answer["cluster_id"]) == (topology.epoch, topology.cluster_id)
    assert (answer["partition_count"], answer["missing"]) == (topology.partition_count, [])
    memory = answer["log"].pop("memory")
    assert answer["log"] == {"id": topology.log_id, "losses": []}
    assert 0 < memory["used_bytes"] < memory["max_bytes"]
    assert [(s["name"], s["primary"], s["partitions"]) for s in answer["shards"]] == [
        (shard.name, shard.primary.name, topology.get_partitions_of(shard.id)) for shard in topology.shards
    ]
    shard = answer["shards"][0]
    assert (shard["durability"]["mode"], shard["durability"]["state"]) == ("async", "met")
    primary, replica = shard["instances"]
    assert primary == {
        "name": "shard1a",
        "role": "primary",
        "host": "127.0.0.1",
        "port": servers.database("shard1a").port,
        "database": "viewcounter_shard",
        "zone": "local",
        "promotable": True,
        "drained": False,
        "status": "up",
        "reason": "",
        "lag_seconds": 0.0,
        "schema_version": EXPECTED_SCHEMA_VERSION,
    }
    assert (replica["name"], replica["role"], replica["status"]) == ("shard1b", "replica", "up")


@pytest.fixture
def records(api: Api):
    """Removes what a test says of shards."""
    forget_records()  # a config service of an earlier test may have left some
    yield
    forget_records()


def forget_records():
    for model in (Move, Failover, ShardCondition):
        model.objects.all().delete()


def test_shards_say_their_condition_and_what_is_being_done_to_them(api: Api, records):
    shards, now = {shard.name: shard for shard in Shard.objects.all()}, datetime.now(UTC)
    since = now - timedelta(minutes=3)
    detail = "no promotable replica streams"
    ShardCondition.objects.create(
        shard=shards["shard1"], condition="without replica", detail=detail, since=since, seen_at=now
    )
    failover = {"kind": "forced", "state": "started", "old_primary": "shard2a", "reason": "r", "actor": "a"}
    Failover.objects.create(shard=shards["shard2"], requested_at=now, **failover)
    partition = api.cluster.topology.get_partitions_of(shards["shard1"].id)[0]
    plan_moves({partition: shards["shard2"].id}, actor="test")
    one, two = api.get(CLUSTER, CLUSTER, scope="admin")["shards"]
    assert (one["condition"], one["condition_detail"]) == ("without replica", detail)
    words = "no promotable replica: a failure of the primary could not be failed over; 1 partition is moving away"
    assert (one["status"], one["reason"]) == ("degraded", words)
    assert datetime.fromisoformat(one["condition_since"]) == since
    assert (one["failover"], one["moving"]) == (None, {"out": 1, "into": 0})
    assert (two["condition"], two["condition_since"], two["moving"]) == ("unknown", None, {"out": 0, "into": 1})
    assert (two["failover"]["kind"], two["failover"]["state"], two["failover"]["candidate"]) == (
        "forced",
        "started",
        None,
    )


def test_without_the_control_database_conditions_are_missing_and_the_rest_is_told(api: Api, servers):
    control = servers.server("control")
    api.get(CLUSTER, CLUSTER, scope="admin")
    control.kill()
    try:
        answer = api.get(CLUSTER, CLUSTER, scope="admin")
    finally:
        control.start()
        control.wait_ready()
        connections.close_all()
    assert answer["missing"] == ["conditions"]
    assert [(s["condition"], s["moving"]) for s in answer["shards"]] == [("unknown", None)] * 2
    assert {(s["status"], s["reason"]) for s in answer["shards"]} == {("degraded", "condition unknown")}
    assert {s["primary"] for s in answer["shards"]} == {"shard1a", "shard2a"}


def test_services_say_when_they_were_heard_last(api: Api, worker):
    (service,) = [s for s in api.get(CLUSTER, CLUSTER, scope="admin")["services"] if s["kind"] == "worker"]
    assert (service["host"], service["pid"], service["version"], service["state"]) == ("host1", 7, "0.1.0", "serving")
    assert 0 <= service["heartbeat_age_seconds"] < 300


def test_what_is_dead_is_down_and_a_silent_registry_is_missing(api: Api, servers, worker):
    replica, broker = servers.database("shard2b"), servers.server("broker")
    replica.kill()
    broker.kill()
    try:
        answer = api.get(CLUSTER, CLUSTER, scope="admin")
    finally:
        for server in (replica, broker):
            server.start()
            server.wait_ready()
    statuses = {i["name"]: (i["status"], i["lag_seconds"]) for s in answer["shards"] for i in s["instances"]}
    assert statuses["shard2b"] == ("down", None)
    assert statuses["shard2a"] == ("up", 0.0)
    assert (answer["services"], answer["missing"]) == ([], ["services"])


def test_the_cluster_is_for_admins(api: Api):
    assert api.call("GET", CLUSTER).json()["code"] == "missing_scope"
