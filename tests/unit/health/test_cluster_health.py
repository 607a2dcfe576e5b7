"""What the answers of instances mean."""

import pytest
from msgspec.structs import replace

from configservice.topology.model import Role
from shardproxy.errors import BadStatement, DeadlineExceeded, InstanceUnavailable, PoolExhausted
from tests.unit.clusterproxy.builders import build_instance, build_shard, build_topology
from viewcounter.health.cluster_health import build_cluster_health, classify_instance
from viewcounter.health.readiness import build_shard_parts
from viewcounter.storage.partitions import EXPECTED_SCHEMA_VERSION

PRIMARY = build_instance("shard1a", Role.PRIMARY)
REPLICA = build_instance("shard1b", Role.REPLICA)
FENCED = build_instance("shard1c", Role.FENCED)


def answer(**row):
    fine = {
        "in_recovery": False,
        "is_read_only": False,
        "lag_seconds": 0.0,
        "is_receiving": False,
        "schema_version": EXPECTED_SCHEMA_VERSION,
        "synchronous_setting": "",
        "synchronous": [],
        "oldest_wait_seconds": 0.0,
        "deletion_behind_seconds": 0.0,
    }
    return [fine | row]


STREAMING = {"in_recovery": True, "is_receiving": True}


@pytest.mark.parametrize(
    ("instance", "reply", "status", "reason"),
    [
        (PRIMARY, answer(), "up", ""),
        (PRIMARY, answer(in_recovery=True), "down", "is a standby: takes no writes"),
        (PRIMARY, answer(is_read_only=True), "down", "takes no writes"),
        (REPLICA, answer(**STREAMING), "up", ""),
        (replace(REPLICA, drained=True), answer(**STREAMING), "up", "drained"),
        (REPLICA, answer(**STREAMING, lag_seconds=5.0), "up", ""),
        (REPLICA, answer(**STREAMING, lag_seconds=5.01), "degraded", "is 5 s behind"),
        (REPLICA, answer(**STREAMING, lag_seconds=None), "degraded", "replication lag unknown"),
        (REPLICA, answer(in_recovery=True), "degraded", "receives nothing from its primary"),
        (REPLICA, answer(), "degraded", "follows no primary"),
        (FENCED, answer(), "degraded", "is fenced until it has rejoined"),
        (REPLICA, InstanceUnavailable("at 10.1.2.3", instance="x"), "down", "does not take connections"),
        (REPLICA, DeadlineExceeded("at 10.1.2.3", instance="x"), "down", "does not answer in time"),
        (REPLICA, PoolExhausted("at 10.1.2.3", instance="x"), "degraded", "all connections to it are in use"),
        (
            PRIMARY,
            BadStatement("at 10.1.2.3", instance="x"),
            "down",
            "lacks tables of this release: run migrate_shards",
        ),
        (REPLICA, None, "degraded", "has not been probed yet"),
    ],
)
def test_an_instance_is_classified_without_naming_its_host(instance, reply, status, reason):
    health = classify_instance(instance, reply, max_lag_seconds=5.0)
    assert (health.status, health.reason) == (status, reason)


def test_a_shard_without_a_primary_says_what_becomes_of_its_events():
    shard = build_shard(1, replicas=1)
    fenced = replace(shard, instances=(replace(shard.instances[0], role=Role.FENCED), shard.instances[1]))
    topology = build_topology(fenced)
    answers = {"shard1a": answer(), "shard1b": answer(**STREAMING, schema_version="0099_other")}
    (health,) = build_cluster_health(topology, answers, max_lag_seconds=5.0)
    assert health.partitions == tuple(range(8))
    assert {name: (part.status, part.reason) for name, part in build_shard_parts(health)} == {
        "shard1 primary": ("down", "the shard has no primary: its events wait in the log"),
        "shard1 fenced": ("degraded", "is fenced until it has rejoined"),
        "shard1 replica": ("up", ""),
        "shard1 schema": ("down", "is of another release: run migrate_shards"),
    }


def test_copies_of_the_same_kind_are_numbered():
    (health,) = build_cluster_health(build_topology(build_shard(1, replicas=3)), {}, max_lag_seconds=5.0)
    names = [name for name, _ in build_shard_parts(health)]
    assert names[:4] == ["shard1 primary", "shard1 replica", "shard1 replica 2", "shard1 replica 3"]
