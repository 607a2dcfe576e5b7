"""A mover dies after each thing that it makes last; another one goes on, and nothing is lost or owned twice."""

from contextlib import contextmanager, suppress

import pytest

from configservice.move_states import ABORTABLE, FINISHED, MoveState
from configservice.moves import abort, get_move
from tests.integration.moves.moving import Crash, Moving
from viewcounter.operations.moves import mover
from viewcounter.operations.moves.work import Work

READABLE = ("owned", "held", "stopped")


class Killer:
    """Raises Crash in the mover's thread after its `number`th commit, on a shard or in the control database."""

    def __init__(self, monkeypatch) -> None:
        self.left = 0
        open_before = Work._open

        @contextmanager
        def open_and_die(work, shard_id, seconds):
            with open_before(work, shard_id, seconds) as connection:
                yield connection
            self._count()

        monkeypatch.setattr(Work, "_open", open_and_die)
        for name in ("claim", "advance", "flip"):
            monkeypatch.setattr(mover, name, self._wrap(getattr(mover, name)))
        # A dead mover does not give its lease back.
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
    """One dies after the first commit of a step, the next one after the second, until one makes the step; and so on.

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
