"""A mover dies after each of its commits; another one continues, and no event is lost and no partition owned twice."""

from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest

from configservice.errors import MoveTaken
from configservice.moves.records import abort, get_move
from configservice.moves.states import ABORTABLE, FINISHED, MoveState
from tests.integration.moves.moving import Crash, Moving
from viewcounter.moves import copying, mover
from viewcounter.moves.work import Work
from viewcounter.storage.errors import CopyTaken, PartitionNotHere
from viewcounter.storage.moves import build_token, check_copy, hold_maintenance
from viewcounter.storage.raw_days import make_raw_days

READABLE = ("owned", "held", "stopped")


class Killer:
    """Raises Crash in the mover's thread after its `number`th commit, on a shard or in the control database."""

    def __init__(self, monkeypatch) -> None:
        self.left = 0
        open_before = Work.open_shard

        @contextmanager
        def open_and_die(work, shard_id, seconds):
            with open_before(work, shard_id, seconds) as connection:
                yield connection
            self._count()

        monkeypatch.setattr(Work, "open_shard", open_and_die)
        for name in ("claim", "advance", "flip"):
            monkeypatch.setattr(mover, name, self._wrap(getattr(mover, name)))
        # A dead mover does not release its lease.
        monkeypatch.setattr(mover, "release", lambda *_, **__: None)

    def arm(self, number: int) -> None:
        self.left = number

    def _wrap(self, function):
        def call(*arguments, **keywords):
            result = function(*arguments, **keywords)
            self._count()
            return result

        return call

    def _count(self) -> None:
        if self.left > 0:
            self.left -= 1
            if self.left == 0:
                raise Crash


def check_nothing_is_owned_twice_and_somebody_answers(moving: Moving) -> None:
    assert len(moving.find_owners()) <= 1
    shard = moving.cluster.topology.get_shard_of(3).name
    assert moving.get_state(shard)["state"] in READABLE
    moving.drain()


def let_movers_die(moving: Moving, killer: Killer, move) -> list[str]:
    """One dies after the first commit of a step, the next one after the second, until one completes it; and so on.

    Returns the states in which they died, in order.
    """
    died_in = []
    number = 1
    while move.state not in FINISHED:
        before = move.state
        killer.arm(number)
        with suppress(Crash):
            moving.run(move, block_bytes=10**6, delete_pages=1000)
        killer.arm(0)
        move = get_move(move.pk)
        died_in.append(move.state)
        check_nothing_is_owned_twice_and_somebody_answers(moving)
        number = 1 if move.state != before else number + 1
        assert number < 100
    return died_in


def test_a_mover_that_dies_after_any_commit_is_replaced(moving: Moving, monkeypatch):
    move = moving.plan()
    died_in = let_movers_die(moving, Killer(monkeypatch), move)
    assert set(died_in) == set(MoveState) - {MoveState.ABORTING, MoveState.ABORTED}
    assert get_move(move.pk).setbacks == 0
    moving.assert_exact_on("shard1")


@pytest.mark.parametrize("state", sorted(ABORTABLE))
def test_an_aborted_move_leaves_everything_as_it_was(moving: Moving, state):
    move = moving.plan()

    def stop(move):
        if move.state == state:
            raise Crash

    with pytest.raises(Crash):
        moving.run(move, on_step=stop)
    moving.come()
    abort(move.pk, actor="ada")
    move = moving.run(move)
    assert (move.state, move.error) == ("aborted", "aborted by ada")
    moving.assert_exact_on("shard2")
    assert moving.get_state("shard2")["epoch"] == 1
    again = moving.run(moving.plan())
    assert (again.state, again.target_epoch) == ("done", 3)
    moving.assert_exact_on("shard1")


def test_a_mover_that_dies_while_it_restores_is_replaced(moving: Moving, monkeypatch):
    killer = Killer(monkeypatch)
    move = moving.plan()

    def stop(move):
        if move.state == "activated":
            raise Crash

    with pytest.raises(Crash):
        moving.run(move, on_step=stop)
    assert moving.get_state("shard1")["state"] == "owned"
    move = abort(move.pk, actor="ada")
    died_in = let_movers_die(moving, killer, move)
    assert set(died_in) == {"aborting", "aborted"}
    assert len(died_in) > 3
    moving.assert_exact_on("shard2")


def test_a_mover_that_was_replaced_writes_nothing_into_the_copy(moving: Moving):
    move = moving.plan()
    zombie = Work(moving.make_tools(), move, build_token(target_epoch=move.target_epoch, claim=0))
    copying.take_source_over(zombie)
    copying.prepare_target(zombie)
    moving.run(move)
    with pytest.raises(MoveTaken):
        copying.copy_partition(zombie)
    with pytest.raises(CopyTaken), zombie.open_target() as target:
        check_copy(target, zombie.target)
    with pytest.raises(PartitionNotHere):
        copying.prepare_target(zombie)
    with pytest.raises(PartitionNotHere), zombie.open_source() as source:
        hold_maintenance(source, zombie.source, seconds=60)
    moving.assert_exact_on("shard1")


@pytest.mark.parametrize("state", ["activated", "flipped"])
def test_a_source_that_forgot_in_a_failover_that_it_is_held_counts_for_nothing(moving: Moving, state):
    """It may even go on counting: what it applies, the target applies too, and only the target is asked."""

    def forget(move):
        if move.state == state:
            moving.on("shard2", "UPDATE partition_state SET state = 'owned' WHERE partition = %(p)s")
            moving.live()

    assert moving.run(moving.plan(), on_step=forget).state == "done"
    moving.assert_exact_on("shard1")


@pytest.mark.parametrize("by", ["mover", "drains"])
def test_a_target_that_forgot_in_a_failover_that_it_was_activated_owns_it_again(moving: Moving, by):
    def forget(move):
        if move.state == "flipped":
            moving.on("shard1", "UPDATE partition_state SET state = 'incoming' WHERE partition = %(p)s")
            assert moving.find_owners() == []
            if by == "drains":
                moving.come()
                moving.drain()
                assert moving.find_owners() == ["shard1"]

    assert moving.run(moving.plan(), on_step=forget).state == "done"
    moving.assert_exact_on("shard1")


def test_a_stopped_partition_is_not_moved_and_its_move_is_given_up(moving: Moving):
    moving.on("shard2", "UPDATE partition_state SET state = 'stopped' WHERE partition = %(p)s")
    move = moving.run(moving.plan(), attempts_max=2)
    assert move.state == "aborted"
    assert "is stopped at epoch 1" in move.error
    assert moving.get_state("shard2")["state"] == "stopped"
    assert set(moving.count_rows("shard1").values()) == {0}


def test_days_made_again_for_an_arrival_are_no_claim_of_other_partitions(moving: Moving):
    """They have no raw events of those days; and the one that comes has none from before its own shard's oldest."""
    old = (datetime.now(UTC) - timedelta(days=5)).date()
    with moving.cluster.shard_transaction(2) as connection:
        make_raw_days(connection, [old])
    moving.run(moving.plan())
    since = {
        row["partition"]: row["raw_since"].date()
        for row in moving.on("shard1", "SELECT partition, raw_since FROM partition_state WHERE state = 'owned'")
    }
    assert since.pop(3) == old
    assert set(since.values()) == {(datetime.now(UTC) - timedelta(days=1)).date()}
