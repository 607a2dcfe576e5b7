"""Which step of a move may follow which."""

import itertools

import pytest

from configservice.errors import MoveNotPossible
from configservice.moves.states import ABORTABLE, FINISHED, TRANSITIONS, URGENT, MoveEvent, MoveState, transition

THE_WAY = [
    (MoveEvent.STARTED, MoveState.COPYING),
    (MoveEvent.COPIED, MoveState.CATCHING_UP),
    (MoveEvent.VERIFIED, MoveState.VERIFIED),
    (MoveEvent.HELD, MoveState.HELD),
    (MoveEvent.ACTIVATED, MoveState.ACTIVATED),
    (MoveEvent.FLIPPED, MoveState.FLIPPED),
    (MoveEvent.RELEASED, MoveState.RELEASED),
    (MoveEvent.CLEANED, MoveState.DONE),
]


def test_a_move_goes_from_planned_to_done():
    state = MoveState.PLANNED
    for event, expected in THE_WAY:
        state = transition(state, event)
        assert state is expected


@pytest.mark.parametrize(("state", "event"), list(itertools.product(MoveState, MoveEvent)))
def test_whatever_is_not_in_the_table_is_refused(state, event):
    if (state, event) in TRANSITIONS:
        assert transition(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(MoveNotPossible, match=f"state {state} does not allow the event {event}"):
            transition(state, event)


def test_a_decided_move_can_only_be_finished():
    decided = {MoveState.FLIPPED, MoveState.RELEASED, MoveState.DONE}
    leaving = {(before, after) for (before, _), after in TRANSITIONS.items() if before in decided}
    assert leaving == {(MoveState.FLIPPED, MoveState.RELEASED), (MoveState.RELEASED, MoveState.DONE)}
    arriving = {(before, event) for (before, event), after in TRANSITIONS.items() if after is MoveState.FLIPPED}
    assert arriving == {(MoveState.ACTIVATED, MoveEvent.FLIPPED)}


def test_only_a_copy_that_was_verified_is_handed_over():
    assert {before for (before, _), after in TRANSITIONS.items() if after is MoveState.HELD} == {MoveState.VERIFIED}
    assert {before for (before, _), after in TRANSITIONS.items() if after is MoveState.ACTIVATED} == {MoveState.HELD}


def test_every_undecided_move_can_be_aborted_and_every_state_leads_to_an_end():
    assert {state for (state, event) in TRANSITIONS if event is MoveEvent.ABORT} == ABORTABLE
    assert ABORTABLE.isdisjoint(FINISHED)
    for state in MoveState:
        assert (state in FINISHED) == all(before is not state for before, _ in TRANSITIONS)
    assert {MoveState.HELD, MoveState.ACTIVATED, MoveState.FLIPPED} == URGENT
