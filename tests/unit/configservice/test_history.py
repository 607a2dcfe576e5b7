"""Changes between two snapshots of the topology."""

from dataclasses import astuple

from msgspec.structs import replace

from configservice.topology.history import diff_topology
from configservice.topology.model import Assignment, Durability, EventType, Role
from tests.unit.clusterproxy.builders import build_instance, build_shard, build_topology

BEFORE = build_topology(epoch=4)


def diff(**changes):
    return [astuple(change) for change in diff_topology(BEFORE, replace(BEFORE, epoch=5, **changes))]


def test_a_number_alone_is_no_change():
    assert diff() == []


def test_a_partition_that_moves_says_where_from_and_where_to():
    moved = (BEFORE.assignments[0], Assignment(shard_id=1, epoch=2), *BEFORE.assignments[2:])
    assert diff(assignments=moved) == [
        ("partition", "1", "shard", "shard2", "shard1"),
        ("partition", "1", "epoch", 1, 2),
    ]


def test_a_change_of_primary_is_told_field_by_field():
    shard = BEFORE.shards[0]
    roles = {"shard1a": Role.REPLICA, "shard1b": Role.PRIMARY}
    instances = tuple(replace(i, role=roles.get(i.name, i.role)) for i in shard.instances)
    assert diff(shards=(replace(shard, term=2, instances=instances), BEFORE.shards[1])) == [
        ("shard", "shard1", "term", 1, 2),
        ("instance", "shard1a", "role", "primary", "replica"),
        ("instance", "shard1b", "role", "replica", "primary"),
    ]


def test_what_comes_and_what_goes_is_told_whole():
    shard = BEFORE.shards[0]
    kept = replace(shard, instances=shard.instances[:2], durability=Durability.QUORUM)
    (durability, gone, came) = diff(
        shards=(kept, BEFORE.shards[1]), event_types=(*BEFORE.event_types, EventType(7, "bookmark", valued=False))
    )
    assert durability == ("shard", "shard1", "durability", "async", "quorum")
    assert gone[:3] == ("instance", "shard1c", "")
    assert (gone[3]["shard"], gone[3]["role"], gone[4]) == ("shard1", "replica", None)
    assert came == ("event_type", "bookmark", "", None, {"id": 7, "name": "bookmark", "valued": False})


def test_an_instance_never_tells_a_password():
    came = diff(shards=(*BEFORE.shards, replace(build_shard(3, replicas=0))))
    assert [(kind, name) for kind, name, *_ in came] == [("shard", "shard3"), ("instance", "shard3a")]
    assert came[1][4]["password_ref"] == build_instance("x", Role.PRIMARY).password_ref


def test_the_beginning_counts_partitions_and_names_the_rest():
    changes = diff_topology(None, BEFORE)
    assert [(c.kind, c.name, c.field) for c in changes if c.kind == "cluster"] == [
        ("cluster", "", ""),
        ("cluster", "", "partition_count"),
    ]
    assert changes[-1].after == 8
    assert not [c for c in changes if c.kind == "partition"]
    assert len([c for c in changes if c.kind == "instance"]) == 6
    assert all(c.before is None for c in changes)
