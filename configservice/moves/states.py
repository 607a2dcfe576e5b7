"""State machine of a partition move. Pure.

Up to `activated` the source owns the partition, and an abort restores it. `flipped` is the decision, made in the one
transaction that changes the topology; from then on only the target owns the partition, and the move can only be
completed. A mover may die at every step: the next mover repeats the work since the last recorded step.
"""

from enum import StrEnum

from configservice.errors import MoveNotPossible


class MoveState(StrEnum):
    PLANNED = "planned"
    """The move is requested; no shard has been changed."""
    COPYING = "copying"
    """The target copies the source's rows as of one position. A new mover starts the copy again."""
    CATCHING_UP = "catching_up"
    """The copy applies the log from its position on, while the source goes on counting."""
    VERIFIED = "verified"
    """All rows of source and copy were equal at one position."""
    HELD = "held"
    """The source accepts no flush: events wait in the log, reads go on."""
    ACTIVATED = "activated"
    """The copy equals the source's last position and accepts flushes, but the topology does not route to it yet."""
    FLIPPED = "flipped"
    """The topology assigns the partition to the target."""
    RELEASED = "released"
    """The source no longer answers reads of the partition."""
    DONE = "done"
    """The source's rows are deleted."""
    ABORTING = "aborting"
    """A mover has to restore the source and remove the copy."""
    ABORTED = "aborted"


class MoveEvent(StrEnum):
    STARTED = "started"
    COPIED = "copied"
    DIFFERED = "differed"
    """Source and copy differ, or the copy is lost: copy again."""
    VERIFIED = "verified"
    HELD = "held"
    UNHELD = "unheld"
    """The last delta took too long: the source resumes counting."""
    ACTIVATED = "activated"
    FLIPPED = "flipped"
    RELEASED = "released"
    CLEANED = "cleaned"
    ABORT = "abort"
    RESTORED = "restored"


FINISHED = frozenset({MoveState.DONE, MoveState.ABORTED})
ABORTABLE = frozenset(
    {
        MoveState.PLANNED,
        MoveState.COPYING,
        MoveState.CATCHING_UP,
        MoveState.VERIFIED,
        MoveState.HELD,
        MoveState.ACTIVATED,
    }
)
URGENT = frozenset({MoveState.HELD, MoveState.ACTIVATED, MoveState.FLIPPED})
"""In these states the partition does not count, or the target may not know yet that it is the owner."""

TRANSITIONS: dict[tuple[MoveState, MoveEvent], MoveState] = {
    (MoveState.PLANNED, MoveEvent.STARTED): MoveState.COPYING,
    (MoveState.COPYING, MoveEvent.COPIED): MoveState.CATCHING_UP,
    (MoveState.COPYING, MoveEvent.DIFFERED): MoveState.COPYING,
    (MoveState.CATCHING_UP, MoveEvent.DIFFERED): MoveState.COPYING,
    (MoveState.CATCHING_UP, MoveEvent.VERIFIED): MoveState.VERIFIED,
    (MoveState.VERIFIED, MoveEvent.DIFFERED): MoveState.COPYING,
    (MoveState.VERIFIED, MoveEvent.UNHELD): MoveState.CATCHING_UP,
    (MoveState.VERIFIED, MoveEvent.HELD): MoveState.HELD,
    (MoveState.HELD, MoveEvent.DIFFERED): MoveState.COPYING,
    (MoveState.HELD, MoveEvent.UNHELD): MoveState.CATCHING_UP,
    (MoveState.HELD, MoveEvent.ACTIVATED): MoveState.ACTIVATED,
    (MoveState.ACTIVATED, MoveEvent.UNHELD): MoveState.CATCHING_UP,
    (MoveState.ACTIVATED, MoveEvent.FLIPPED): MoveState.FLIPPED,
    (MoveState.FLIPPED, MoveEvent.RELEASED): MoveState.RELEASED,
    (MoveState.RELEASED, MoveEvent.CLEANED): MoveState.DONE,
    (MoveState.ABORTING, MoveEvent.RESTORED): MoveState.ABORTED,
    **{(state, MoveEvent.ABORT): MoveState.ABORTING for state in ABORTABLE},
}


def transition(state: MoveState, event: MoveEvent) -> MoveState:
    """Raises MoveNotPossible."""
    after = TRANSITIONS.get((state, event))
    if after is None:
        raise MoveNotPossible(f"a move in state {state} does not allow the event {event}")
    return after
