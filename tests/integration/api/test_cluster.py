"""The cluster as it is right now, at an address."""

from datetime import UTC, datetime

import pytest
from django.conf import settings

from configservice.services import Service, ServiceKind, put_heartbeat, remove_service
from tests.integration.api.conftest import Api
from viewcounter.storage.partitions import EXPECTED_SCHEMA_VERSION

CLUSTER = "/v1/cluster"


@pytest.fixture
def worker(api: Api):
    service = Service("w", ServiceKind.WORKER, "host1", 7, "0.1.0", "local", datetime(2026, 1, 1, tzinfo=UTC))
    put_heartbeat(settings.TOPOLOGY_CACHE_URL, service, forget_seconds=60.0)
    yield service
    remove_service(settings.TOPOLOGY_CACHE_URL, "w")


def test_shards_say_their_term_primary_partitions_durability_and_instances(api: Api, servers, worker):
    answer = api.get(CLUSTER, CLUSTER, scope="admin")
    topology = api.cluster.topology
    assert (answer["epoch"], answer["cluster_id"]) == (topology.epoch, topology.cluster_id)
    assert (answer["partition_count"], answer["missing"]) == (topology.partition_count, [])
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


def test_services_say_when_they_were_heard_last(api: Api, worker):
    (service,) = [s for s in api.get(CLUSTER, CLUSTER, scope="admin")["services"] if s["kind"] == "worker"]
    assert (service["host"], service["pid"], service["version"], service["state"]) == ("host1", 7, "0.1.0", "serving")
    assert 0 <= service["heartbeat_age_seconds"] < 10


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
