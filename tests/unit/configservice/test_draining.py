"""What may be drained and removed."""

import msgspec
import pytest

from configservice.errors import DrainRefused
from configservice.join.draining import check_drain, check_removal, describe_drain
from configservice.topology.model import Durability, Role
from tests.unit.clusterproxy.builders import build_shard


def build(*, drained=(), replicas=2, **shard):
    plain = build_shard(1, replicas=replicas)
    instances = tuple(msgspec.structs.replace(i, drained=i.name in drained) for i in plain.instances)
    return msgspec.structs.replace(plain, instances=instances, **shard)


def get(shard, name):
    return next(i for i in shard.instances if i.name == name)


def drain(shard, name, *, is_changing=False):
    check_drain(shard, get(shard, name), is_changing=is_changing)


def test_a_primary_is_not_drained_but_switched_over():
    with pytest.raises(DrainRefused, match=r"primary of shard1: first `manage.py switchover --shard shard1`"):
        drain(build(), "shard1a")


@pytest.mark.parametrize(
    ("shard", "field"),
    [
        (build(durability=Durability.QUORUM, quorum=2), "1 replicas to wait for, not 2"),
        (build(durability=Durability.ALL, drained={"shard1c"}), "no replica to wait for"),
    ],
)
def test_a_replica_that_commits_cannot_do_without_stays(shard, field):
    with pytest.raises(DrainRefused, match=f"{field}: first `manage.py set_durability --shard shard1`"):
        drain(shard, "shard1b")


def test_a_replica_that_commits_can_do_without_is_drained():
    drain(build(durability=Durability.QUORUM, quorum=1), "shard1b")
    drain(build(durability=Durability.ALL), "shard1b")
    drain(build(), "shard1b")


def test_who_takes_part_in_a_change_of_primary_is_left_alone():
    with pytest.raises(DrainRefused, match="running change of primary"):
        drain(build(), "shard1b", is_changing=True)


def test_only_what_is_drained_is_removed():
    shard = build(drained={"shard1b"})
    check_removal(shard, get(shard, "shard1b"), is_changing=False)
    with pytest.raises(DrainRefused, match=r"first `manage.py drain_instance shard1c`"):
        check_removal(shard, get(shard, "shard1c"), is_changing=False)
    with pytest.raises(DrainRefused, match="is the primary of shard1"):
        check_removal(shard, get(shard, "shard1a"), is_changing=False)


def test_a_fenced_instance_that_never_comes_back_can_be_drained_and_removed():
    shard = build(replicas=1, durability=Durability.ALL)
    fenced = msgspec.structs.replace(get(shard, "shard1b"), name="shard1z", role=Role.FENCED)
    check_drain(shard, fenced, is_changing=False)
    check_removal(shard, msgspec.structs.replace(fenced, drained=True), is_changing=False)


def test_whoever_drains_the_last_replica_is_told_what_it_means():
    assert "no promotable replica" in describe_drain(build(replicas=1), get(build(), "shard1b"))
    assert "no promotable replica" not in describe_drain(build(), get(build(), "shard1b"))
