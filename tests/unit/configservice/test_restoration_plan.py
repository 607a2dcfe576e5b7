"""Which topology follows from what the shards hold, for every way in which they and the document can differ."""

import msgspec
import pytest

from configservice.errors import RestoreRefused
from configservice.moves.states import MoveState
from configservice.restore.facts import InstanceFacts, LostMove, PartitionRow
from configservice.restore.plan import plan_restoration
from configservice.topology.model import Assignment, Role, TopologyVersion
from tests.unit.clusterproxy.builders import CLUSTER_ID, build_topology

DOCUMENT = build_topology(epoch=7, partitions=4)
"""Partitions 0 and 2 on shard 1, 1 and 3 on shard 2, each at epoch 1; instances shard1a (primary), b, c."""
PLACES = {
    1: {0: PartitionRow(1, "owned"), 2: PartitionRow(1, "owned")},
    2: {1: PartitionRow(1, "owned"), 3: PartitionRow(1, "owned")},
}
P, R, F = Role.PRIMARY, Role.REPLICA, Role.FENCED


def say(shard, *, is_standby, term=1, rows=None, generation=0, cluster_id=CLUSTER_ID):
    return InstanceFacts(
        is_standby=is_standby,
        term=term,
        generation=generation,
        cluster_id=cluster_id,
        partitions=PLACES[shard] if rows is None else rows,
    )


def answer(**changed):
    """Facts as the document has them, but for those instances."""
    facts = {f"shard{s}{c}": say(s, is_standby=c != "a") for s in (1, 2) for c in "abc"}
    return facts | changed


def place(rows_by_shard):
    """Every instance of these shards has their usual rows, changed by these."""
    return answer(
        **{
            f"shard{s}{c}": say(s, is_standby=c != "a", rows=PLACES[s] | rows)
            for s, rows in rows_by_shard.items()
            for c in "abc"
        }
    )


def get_roles(plan, shard=1):
    return [instance.role for instance in plan.topology.get_shard(shard).instances]


def test_shards_that_agree_with_the_document_change_generation_and_epoch_only():
    plan = plan_restoration(DOCUMENT, answer())
    assert plan.topology == msgspec.structs.replace(DOCUMENT, generation=1, epoch=8)
    assert (plan.moves, plan.warnings) == ((), ())


@pytest.mark.parametrize(
    ("document", "known", "stored", "expected"),
    [
        ((0, 7), [], 0, (1, 8)),
        ((0, 7), [(0, 12)], 0, (1, 13)),
        ((2, 3), [(1, 90)], 0, (3, 91)),
        ((0, 7), [], 4, (5, 8)),
    ],
)
def test_version_is_above_every_other_that_is_known(document, known, stored, expected):
    old = msgspec.structs.replace(DOCUMENT, generation=document[0], epoch=document[1])
    facts = answer(shard2c=say(2, is_standby=True, generation=stored))
    plan = plan_restoration(old, facts, known=[TopologyVersion(*version) for version in known])
    assert plan.topology.version == expected


@pytest.mark.parametrize(
    ("changed", "roles", "term", "warnings"),
    [
        pytest.param(
            {"shard1a": None, "shard1b": say(1, is_standby=False, term=2), "shard1c": say(1, is_standby=True, term=2)},
            [F, P, R], 2, 1, id="failed over, old primary silent",
        ),
        pytest.param(
            {"shard1a": say(1, is_standby=False), "shard1b": say(1, is_standby=False, term=2)},
            [F, P, R], 2, 0, id="old primary is back and takes writes",
        ),
        pytest.param(
            {"shard1a": say(1, is_standby=True, term=2), "shard1b": say(1, is_standby=False, term=2)},
            [F, P, R], 2, 0, id="old primary follows, which the config service has to see",
        ),
        pytest.param({"shard1c": None}, [P, R, R], 1, 1, id="silent replica keeps its role"),
        pytest.param(
            {"shard1b": None, "shard1c": say(1, is_standby=True, term=2)},
            [P, R, R], 1, 1, id="old primary alone, a replica has seen a later one",
        ),
        pytest.param({"shard1a": None}, [P, R, R], 1, 1, id="no primary answers, a failover follows"),
    ],
)  # fmt: skip
def test_primary_is_the_instance_that_takes_writes_at_the_highest_term(changed, roles, term, warnings):
    plan = plan_restoration(DOCUMENT, answer(**changed))
    assert get_roles(plan) == roles
    assert plan.topology.get_shard(1).term == term
    assert len(plan.warnings) == warnings
    assert plan.topology.get_shard(2) == DOCUMENT.get_shard(2)


def test_new_primary_is_neither_drained_nor_excluded_from_promotion():
    shard = DOCUMENT.get_shard(1)
    drained = [msgspec.structs.replace(i, drained=True, promotable=False) for i in shard.instances[1:]]
    document = msgspec.structs.replace(
        DOCUMENT,
        shards=(msgspec.structs.replace(shard, instances=(shard.instances[0], *drained)), DOCUMENT.get_shard(2)),
    )
    plan = plan_restoration(document, answer(shard1a=None, shard1b=say(1, is_standby=False, term=2)))
    _, primary, replica = plan.topology.get_shard(1).instances
    assert (primary.drained, primary.promotable) == (False, True)
    assert (replica.drained, replica.promotable) == (True, False)


@pytest.mark.parametrize(
    ("rows", "owner", "move"),
    [
        pytest.param(
            {1: {0: PartitionRow(1, "moved")}, 2: {0: PartitionRow(2, "owned")}},
            (2, 2), None, id="moved since the document",
        ),
        pytest.param(
            {1: {0: PartitionRow(1, "held", 2, 3)}, 2: {0: PartitionRow(2, "owned", 2, 3)}},
            (2, 2), LostMove(0, 1, 2, 1, 2, MoveState.FLIPPED, 3), id="activated: the copy equals its source",
        ),
        pytest.param(
            {1: {0: PartitionRow(1, "held", 2, 5)}, 2: {0: PartitionRow(2, "incoming", 2, 5)}},
            (1, 1), LostMove(0, 1, 2, 1, 2, MoveState.ABORTING, 5), id="held: the source has every count",
        ),
        pytest.param(
            {2: {0: PartitionRow(2, "incoming", 2, 1)}},
            (1, 1), LostMove(0, 1, 2, 1, 2, MoveState.ABORTING, 1), id="copying",
        ),
        pytest.param(
            {2: {0: PartitionRow(2, "moved")}},
            (1, 1), LostMove(0, 1, 2, 1, 2, MoveState.ABORTED, 0), id="aborted: its epoch is used up",
        ),
        pytest.param(
            {1: {0: PartitionRow(1, "held", 4, 1)}},
            (1, 1), LostMove(0, 1, 2, 1, 5, MoveState.ABORTING, 0), id="held, the copy is gone",
        ),
        pytest.param({1: {0: PartitionRow(1, "stopped")}}, (1, 1), None, id="stopped by itself"),
    ],
)  # fmt: skip
def test_owner_is_the_shard_with_the_highest_epoch_and_its_move_is_found(rows, owner, move):
    plan = plan_restoration(DOCUMENT, place(rows))
    assert plan.topology.assignments == (Assignment(*owner), *DOCUMENT.assignments[1:])
    assert plan.moves == (() if move is None else (move,))


def test_copy_counts_if_the_document_says_that_it_was_flipped_to():
    document = msgspec.structs.replace(DOCUMENT, assignments=(Assignment(2, 2), *DOCUMENT.assignments[1:]))
    rows = {1: {0: PartitionRow(1, "held", 2, 1)}, 2: {0: PartitionRow(2, "incoming", 2, 1)}}
    plan = plan_restoration(document, place(rows))
    assert plan.topology.assignments == document.assignments
    assert plan.moves == (LostMove(0, 1, 2, 1, 2, MoveState.FLIPPED, 1),)


def silence(*shards):
    return answer(**{f"shard{s}{c}": None for s in shards for c in "abc"})


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (answer(shard1b=say(1, is_standby=False)), "shard1a and shard1b of shard1 both take writes at shard term 1"),
        (answer(shard2b=say(2, is_standby=True, cluster_id="other")), "shard2b is of cluster other"),
        (silence(2), "--accept-unread shard2"),
        (place({2: {0: PartitionRow(1, "owned")}}), "partition 0 is owned by shard1 and shard2 at epoch 1"),
        (place({1: {0: PartitionRow(1, "moved")}}), "no shard of the document owns partition 0"),
    ],
)
def test_nothing_is_planned_where_counts_could_be_lost_or_doubled(facts, reason):
    with pytest.raises(RestoreRefused, match=reason):
        plan_restoration(DOCUMENT, facts)


def test_owner_that_the_document_knows_and_that_is_gone_is_refused():
    document = msgspec.structs.replace(DOCUMENT, assignments=(Assignment(2, 3), *DOCUMENT.assignments[1:]))
    with pytest.raises(RestoreRefused, match="on shard2 at epoch 3, but only shard1 has it, at epoch 1"):
        plan_restoration(document, answer())


def test_every_reason_is_given_at_once():
    with pytest.raises(RestoreRefused, match=r"accept-unread shard1; .*accept-unread shard2"):
        plan_restoration(DOCUMENT, silence(1, 2))


def test_accepted_shard_keeps_roles_and_partitions_of_the_document():
    plan = plan_restoration(DOCUMENT, silence(2), unread_shards=["shard2"])
    assert plan.topology.shards == DOCUMENT.shards
    assert plan.topology.assignments == DOCUMENT.assignments
    assert plan.warnings == ("no primary of shard2 answers: its roles and its term are the document's",)
