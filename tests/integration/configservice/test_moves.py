"""Moves in the control database: requests, claims, and the one transaction that decides a move."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from configservice.errors import MoveNotPossible, MoveTaken, UnknownMove
from configservice.models import Instance, Move, PartitionAssignment, Shard, TopologyEpoch
from configservice.moves.records import (
    abort,
    advance,
    claim,
    find_free,
    flip,
    get_move,
    give_up,
    list_unfinished,
    plan_moves,
    record_failure,
    release,
    renew,
)
from configservice.moves.states import ABORTABLE, FINISHED, MoveEvent, MoveState
from tests.integration.configservice.conftest import read_topology

PARTITION = 0
"""On shard1."""

NO_SHARD = 0
"""Identity columns count from 1, and tests of one database have made many shards."""


@pytest.fixture
def target(init_cluster):
    Move.objects.all().delete()
    init_cluster()
    assert PartitionAssignment.objects.get(partition=PARTITION).shard.name == "shard1"
    yield Shard.objects.get(name="shard2")
    Move.objects.all().delete()


def plan(target, *partitions):
    return plan_moves(dict.fromkeys(partitions or [PARTITION], target.id), actor="ada", reason="room")


def take(move, *, owner="mover"):
    assert claim(move.pk, owner=owner, lease_seconds=30)
    return get_move(move.pk)


def bring(move, state):
    Move.objects.filter(pk=move.pk).update(state=state)
    return get_move(move.pk)


def test_a_move_knows_where_from_and_under_which_epochs(target):
    [move] = plan(target)
    assert (move.source.name, move.target.name) == ("shard1", "shard2")
    assert (move.source_epoch, move.target_epoch, move.state) == (1, 2, "planned")
    assert [m.pk for m in list_unfinished()] == [move.pk]


def test_an_epoch_that_an_aborted_move_was_to_have_is_never_used_again(target):
    [first] = plan(target)
    bring(first, MoveState.ABORTED)
    [second] = plan(target)
    assert (second.source_epoch, second.target_epoch) == (1, 3)


@pytest.mark.parametrize(
    ("partition", "shard", "message"),
    [
        (99, "shard2", "there is no partition 99"),
        (0, "shard1", "partition 0 is on shard1 already"),
        (1, "shard2", "partition 1 is on shard2 already"),
    ],
)
def test_what_cannot_be_moved_is_refused_and_nothing_is_planned(target, partition, shard, message):
    with pytest.raises(MoveNotPossible, match=message):
        plan_moves({2: target.id, partition: Shard.objects.get(name=shard).id}, actor="ada")
    with pytest.raises(MoveNotPossible, match="the target shard does not exist"):
        plan_moves({2: NO_SHARD}, actor="ada")
    assert Move.objects.count() == 0


def test_a_partition_moves_once_at_a_time_and_never_to_a_shard_without_primary(target):
    plan(target)
    with pytest.raises(MoveNotPossible, match="partition 0 is being moved already"):
        plan(target)
    Instance.objects.filter(shard=target).delete()
    with pytest.raises(MoveNotPossible, match="shard2 has no primary"):
        plan(target, 2)


def test_one_mover_works_on_a_move_and_whoever_was_replaced_writes_nothing(target):
    [move] = plan(target)
    ours = take(move)
    assert not claim(move.pk, owner="other", lease_seconds=30)
    assert find_free(states=[MoveState.PLANNED], now=timezone.now()) == []
    later = timezone.now() + timedelta(seconds=31)
    assert find_free(states=[MoveState.PLANNED], now=later) == [move.pk]

    Move.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    renew(ours, lease_seconds=30, rows_copied=7)  # late, but no other mover has claimed it
    assert get_move(move.pk).rows_copied == 7

    Move.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    theirs = take(move, owner="other")
    for attempt in (
        lambda: renew(ours, lease_seconds=30, rows_copied=9),
        lambda: advance(ours, MoveEvent.STARTED),
        lambda: record_failure(ours, "no"),
        lambda: give_up(ours, "no"),
    ):
        with pytest.raises(MoveTaken):
            attempt()
    release(move.pk, owner="mover")
    assert not claim(move.pk, owner="third", lease_seconds=30)
    theirs = advance(theirs, MoveEvent.STARTED)
    assert (theirs.state, theirs.rows_copied, theirs.attempts) == ("copying", 7, 0)
    assert theirs.started_at is not None
    release(move.pk, owner="other")
    assert claim(move.pk, owner="third", lease_seconds=30)


def test_each_claim_has_a_larger_number_and_who_slept_through_its_lease_has_none(target, monkeypatch):
    [move] = plan(target)
    assert claim(move.pk, owner="first", lease_seconds=30).claims == 1
    release(move.pk, owner="first")
    assert claim(move.pk, owner="second", lease_seconds=0.0).claims == 2

    def read_late(move_id):
        Move.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        monkeypatch.undo()
        assert claim(move_id, owner="awake", lease_seconds=30).claims == 4
        return get_move(move_id)

    monkeypatch.setattr("configservice.moves.records.get_move", read_late)
    assert claim(move.pk, owner="asleep", lease_seconds=30) is None
    assert get_move(move.pk).lease_owner == "awake"


def test_failures_in_a_row_are_counted_until_a_step_is_made(target):
    [move] = plan(target)
    ours = take(move)
    ours = record_failure(record_failure(ours, "first"), "second")
    assert (ours.attempts, ours.error) == (2, "second")
    ours = advance(ours, MoveEvent.STARTED)
    assert (ours.attempts, ours.error) == (0, "")


def test_the_flip_is_one_transaction_with_a_new_epoch(target):
    [move] = plan(target)
    ours = bring(take(move), MoveState.ACTIVATED)
    before = read_topology()
    ours = flip(ours)
    after = read_topology()
    assert ours.state == "flipped"
    assert ours.flipped_at is not None
    assert after.epoch == before.epoch + 1
    assert (after.get_shard_of(PARTITION).name, after.assignments[PARTITION].epoch) == ("shard2", 2)
    assert after.assignments[1:] == before.assignments[1:]
    assert TopologyEpoch.objects.first().reason == f"move {move.pk}: partition 0 from shard1 to shard2"


def test_a_flip_that_cannot_be_changes_nothing(target):
    [move] = plan(target)
    ours = bring(take(move), MoveState.ACTIVATED)
    before = read_topology()
    PartitionAssignment.objects.filter(partition=PARTITION).update(epoch=5)
    with pytest.raises(MoveNotPossible, match="no longer on shard1"):
        flip(ours)
    PartitionAssignment.objects.filter(partition=PARTITION).update(epoch=1)
    assert get_move(move.pk).state == "activated"
    abort(move.pk, actor="ada")
    with pytest.raises(MoveTaken):
        flip(ours)
    assert read_topology() == before


@pytest.mark.parametrize("state", sorted(set(MoveState) - {MoveState.ABORTING}))
def test_only_what_is_not_decided_is_aborted(target, state):
    [move] = plan(target)
    bring(move, state)
    if state in ABORTABLE:
        assert abort(move.pk, actor="ada").state == "aborting"
        assert abort(move.pk, actor="bob").error == "aborted by ada"
        assert claim(move.pk, owner="mover", lease_seconds=30)
    else:
        with pytest.raises(MoveNotPossible, match="can no longer be aborted"):
            abort(move.pk, actor="ada")
        assert get_move(move.pk).state == state
        assert (claim(move.pk, owner="mover", lease_seconds=30) is not None) == (state not in FINISHED)


def test_an_aborted_move_is_noticed_by_its_mover_who_then_restores(target):
    [move] = plan(target)
    ours = advance(take(move), MoveEvent.STARTED)
    abort(move.pk, actor="ada")
    with pytest.raises(MoveTaken):
        renew(ours, lease_seconds=30, rows_copied=1)
    ours = get_move(move.pk)
    assert ours.lease_owner == "mover"
    ours = advance(ours, MoveEvent.RESTORED)
    assert (ours.state, ours.error) == ("aborted", "aborted by ada")


def test_unknown_moves_are_named(control):
    number = uuid4().int % 10**9
    for call in (get_move, lambda n: abort(n, actor="ada")):
        with pytest.raises(UnknownMove, match=f"there is no move {number}"):
            call(number)
