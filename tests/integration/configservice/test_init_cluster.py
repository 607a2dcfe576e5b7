"""`manage.py init_cluster` makes a cluster once and brings it up to date any number of times."""

import pytest
from django.core.management import CommandError, call_command

from configservice.models import EventType, Instance, PartitionAssignment, Shard, TopologyEpoch
from configservice.topology.publication import read_from_cache
from tests.integration.configservice.conftest import CLUSTER_ID, describe_cluster, read_topology


def get_topology():
    return read_topology()


def take_stock():
    """Everything the command may change."""
    return [
        list(model.objects.order_by("pk").values())
        for model in (Shard, Instance, PartitionAssignment, EventType, TopologyEpoch)
    ]


def test_models_and_migrations_agree(control):
    call_command("makemigrations", "configservice", "--check", "--dry-run", verbosity=0)


def test_a_new_cluster_is_complete_even_and_published(init_cluster, cluster_cache):
    report = init_cluster(partitions=7)
    assert report == {
        "cluster_id": CLUSTER_ID,
        "epoch": 1,
        "published": True,
        "partitions_assigned": 7,
        "shards_created": ["shard1", "shard2"],
        "instances_created": ["shard1b", "shard1a", "shard2b", "shard2a"],
        "instances_updated": [],
        "roles_kept": [],
        "event_types_created": ["view", "like", "dislike", "comment", "share", "watch_time"],
    }
    topology = get_topology()
    assert topology.epoch == 1
    assert [topology.get_shard_of(p).name for p in range(7)] == ["shard1", "shard2"] * 3 + ["shard1"]
    assert {a.epoch for a in topology.assignments} == {1}
    assert [(s.name, s.term, s.primary.name, s.primary.port) for s in topology.shards] == [
        ("shard1", 1, "shard1a", 5001),
        ("shard2", 1, "shard2a", 5003),
    ]
    assert [(t.id, t.name, t.valued) for t in topology.event_types] == [
        (1, "view", False),
        (2, "like", False),
        (3, "dislike", False),
        (4, "comment", False),
        (5, "share", False),
        (6, "watch_time", True),
    ]
    assert read_from_cache(cluster_cache).decode() == topology


def test_a_second_run_changes_nothing(init_cluster):
    init_cluster()
    before = take_stock()
    report = init_cluster()
    assert take_stock() == before
    assert (report["epoch"], report["published"]) == (1, False)


def test_another_number_of_partitions_is_refused_and_nothing_changes(init_cluster):
    init_cluster(partitions=7)
    before = take_stock()
    with pytest.raises(CommandError, match="created with 7 partitions, which cannot be changed to 8"):
        init_cluster(partitions=8)
    assert take_stock() == before


@pytest.mark.parametrize("partitions", [0, -1, 4097])
def test_an_impossible_number_of_partitions_is_refused(init_cluster, partitions):
    with pytest.raises(CommandError, match=r"--partitions must be 1\.\.4096"):
        init_cluster(partitions=partitions)
    assert take_stock() == [[]] * 5


def test_a_new_address_is_published_as_a_new_epoch(init_cluster):
    init_cluster()
    description = describe_cluster()
    description["shards"][0]["instances"][1]["port"] = 6000
    report = init_cluster(description)
    assert (report["epoch"], report["published"], report["instances_updated"]) == (2, True, ["shard1b"])
    assert get_topology().get_shard_of(0).replicas[0].port == 6000


def test_servers_may_exchange_their_addresses(init_cluster):
    init_cluster()
    description = describe_cluster()
    one, two = (shard["instances"][0] for shard in description["shards"])
    one["port"], two["port"] = two["port"], one["port"]
    assert init_cluster(description)["epoch"] == 2
    assert [s.primary.port for s in get_topology().shards] == [5003, 5001]


def describe_exchanged_roles():
    description = describe_cluster()
    for instance in description["shards"][0]["instances"]:
        instance["role"] = "primary" if instance["role"] == "replica" else "replica"
    return description


def test_roles_stay_what_failovers_have_made_of_them(init_cluster):
    init_cluster()
    before = take_stock()
    report = init_cluster(describe_exchanged_roles())
    assert take_stock() == before
    assert (report["published"], report["roles_kept"]) == (False, ["shard1a", "shard1b"])


def test_a_change_of_primary_that_is_asked_for_raises_the_term_of_that_shard_only(init_cluster):
    init_cluster()
    init_cluster(describe_exchanged_roles(), "--set-roles")
    assert [(s.name, s.term, s.primary.name) for s in get_topology().shards] == [
        ("shard1", 2, "shard1b"),
        ("shard2", 1, "shard2a"),
    ]


def test_a_shard_added_later_owns_nothing_until_partitions_are_moved(init_cluster):
    init_cluster()
    description = describe_cluster()
    third = describe_cluster()["shards"][0] | {"name": "shard3"}
    third["instances"] = [third["instances"][0] | {"name": "shard3a", "port": 7000}]
    description["shards"].append(third)
    report = init_cluster(description)
    assert (report["shards_created"], report["partitions_assigned"]) == (["shard3"], 0)
    topology = get_topology()
    assert topology.get_partitions_of(topology.shards[2].id) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"port": 5003}, "contradicts itself"),
        ({"port": 70000}, "port: Ensure this value is less than or equal to 65535"),
        ({"password_ref": "hunter2"}, "never the password itself"),
        ({"password_ref": "file:relative"}, "never the password itself"),
        ({"password_ref": "file:/etc/passwd"}, "password_ref: file:/etc/passwd is not in"),
        ({"password_ref": "env:VIEWCOUNTER_SECRET_KEY"}, "env:VIEWCOUNTER_SECRET_KEY does not begin with"),
        ({"name": "shard2b"}, "the name shard2b is used 2 times"),
        ({"name": "Shard One"}, "Lower-case letters"),
        ({"sslmode": "sometimes"}, "sslmode: Value 'sometimes' is not a valid choice"),
    ],
)
def test_a_bad_description_is_refused_and_nothing_changes(init_cluster, change, message):
    init_cluster()
    before = take_stock()
    description = describe_cluster()
    description["shards"][0]["instances"][0] |= change
    with pytest.raises(CommandError, match=message) as caught:
        init_cluster(description)
    assert "hunter2" not in str(caught.value)
    assert take_stock() == before


def test_an_instance_does_not_change_its_shard(init_cluster):
    init_cluster()
    before = take_stock()
    description = describe_cluster()
    one, two = (shard["instances"] for shard in description["shards"])
    one[1], two[1] = two[1], one[1]
    with pytest.raises(CommandError, match="shard2b belongs to shard2, not to shard1"):
        init_cluster(description)
    assert take_stock() == before
