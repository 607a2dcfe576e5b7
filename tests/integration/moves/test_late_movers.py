"""A mover that is frozen while others replace it and finish its move changes nothing when it wakes."""

import pytest

from configservice.models import Move
from configservice.moves.records import abort, get_move
from tests.integration.moves.frozen import Sleepers, watch_control_database
from tests.integration.moves.moving import Crash, Moving
from viewcounter.moves import handing_over
from viewcounter.moves.errors import ReplicasBehind
from viewcounter.moves.work import Work
from viewcounter.storage.errors import MaintenanceHoldLost
from viewcounter.storage.moves import build_token, hold_maintenance, hold_source

BEFORE_ACTIVATION = frozenset({"planned", "copying", "catching_up", "verified", "held"})
AFTER_IT = frozenset({"activated", "flipped", "released"})


@pytest.fixture
def sleepers(moving: Moving, monkeypatch):
    watch_control_database(monkeypatch)
    with Sleepers.open(moving) as sleepers:
        yield sleepers


def go_on_until(moving: Moving, move: Move, state: str) -> None:
    def stop(reached: Move) -> None:
        if reached.state == state:
            raise Crash

    with pytest.raises(Crash):
        moving.run(move, on_step=stop)
    assert get_move(move.pk).state == state


def test_movers_that_wake_when_the_partition_has_come_back_change_nothing(moving: Moving, sleepers: Sleepers):
    sleepers.freeze(moving.plan())
    assert sleepers.states == BEFORE_ACTIVATION | AFTER_IT
    moving.live()
    assert moving.run(moving.plan(to="shard2")).state == "done"
    moving.live()
    sleepers.wake_all_and_assert_nothing_changes()
    moving.assert_exact_on("shard2")


def test_movers_that_wake_when_another_has_flipped_their_move_change_nothing(moving: Moving, sleepers: Sleepers):
    """The topology names the target, and the target does not know it yet."""
    move = moving.plan()
    sleepers.freeze(move, until=frozenset({"activated"}))
    go_on_until(moving, move, "flipped")
    sleepers.wake_all_and_assert_nothing_changes()
    assert moving.run(move).state == "done"
    moving.assert_exact_on("shard1")


@pytest.mark.parametrize("state", ["copying", "flipped"])
def test_movers_of_an_aborted_move_that_wake_during_the_next_one_change_nothing(
    moving: Moving, sleepers: Sleepers, state
):
    move = moving.plan()
    sleepers.freeze(move, until=frozenset({"activated"}))
    sleepers.freeze(abort(move.pk, actor="ada"))
    assert sleepers.states == BEFORE_ACTIVATION | {"aborting"}
    following = moving.plan()
    go_on_until(moving, following, state)
    sleepers.wake_all_and_assert_nothing_changes()
    assert (moving.run(following).state, get_move(following.pk).setbacks) == ("done", 0)
    moving.assert_exact_on("shard1")


def test_movers_of_an_aborted_move_that_wake_when_nothing_moves_change_nothing(moving: Moving, sleepers: Sleepers):
    """Nothing was copied yet: there is not even a row on the target that could tell them."""
    move = moving.plan()
    sleepers.freeze(move, until=frozenset({"copying"}))
    sleepers.freeze_first(get_move(move.pk), places=3)
    sleepers.freeze(abort(move.pk, actor="ada"))
    sleepers.wake_all_and_assert_nothing_changes()
    moving.assert_exact_on("shard2")


def test_a_mover_that_slept_past_its_hold_of_maintenance_does_not_hold_the_source(moving: Moving):
    """A rollup or a recount may have changed the source since it was compared with its copy."""
    move = moving.plan()
    work = Work(moving.make_tools(), move, build_token(target_epoch=move.target_epoch, claim=1))
    with work.open_source() as source:
        hold_maintenance(source, work.source, seconds=60)
    moving.on("shard2", "UPDATE partition_state SET maintenance_held_until = now() WHERE partition = %(p)s")
    with pytest.raises(MaintenanceHoldLost), work.open_source() as source:
        hold_source(source, work.source)
    assert moving.get_state("shard2")["state"] == "owned"


def test_a_replica_that_knows_an_earlier_movers_token_is_waited_for(moving: Moving):
    """Promoted, it would let the earlier mover begin the copy anew."""
    move = moving.plan()
    go_on_until(moving, move, "verified")
    move = get_move(move.pk)
    token = moving.get_state("shard1")["move_token"]
    handing_over.wait_for_every_instance(Work(moving.make_tools(), move, token))
    next_token = build_token(target_epoch=move.target_epoch, claim=99)
    with pytest.raises(ReplicasBehind, match="whole on shard1a, shard1b"):
        handing_over.wait_for_every_instance(Work(moving.make_tools(throttle_seconds=0.0), move, next_token))
