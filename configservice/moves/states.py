"""The steps by which one partition moves to another shard, and which may follow which. Pure.

Up to `activated` the source owns the partition, and aborting restores it. `flipped` is the decision, taken in the one
transaction that changes the topology; from there on only the target owns it and the move can but be finished. At every
step a mover may die: what it did before it wrote the next step down is done again by whoever goes on.
"""

from enum import StrEnum

from configservice.errors import MoveNotPossible


class MoveState(StrEnum):
    PLANNED = "planned"
    """Asked for; no shard knows of it."""
    COPYING = "copying"
    """The target takes a copy of the source's rows as of one position. Begun anew by whoever goes on."""
    CATCHING_UP = "catching_up"
    """The copy reads the log on from its position, while the source goes on counting."""
    VERIFIED = "verified"
    """At one position, source and copy were equal in every row."""
    HELD = "held"
    """The source takes no flush: events wait in the log, reads go on."""
    ACTIVATED = "activated"
    """The copy, equal at the source's last position, could count. No route leads to it yet."""
    FLIPPED = "flipped"
    """The topology names the target."""
    RELEASED = "released"
    """The source answers no reads of it any more."""
    DONE = "done"
    """The source's rows are gone."""
    ABORTING = "aborting"
    """The source is to go on, the copy to disappear."""
    ABORTED = "aborted"


class MoveEvent(StrEnum):
    STARTED = "started"
    COPIED = "copied"
    DIFFERED = "differed"
    """Source and copy are not equal, or the copy is lost: it is made again."""
    VERIFIED = "verified"
    HELD = "held"
    UNHELD = "unheld"
    """The last delta took too long: the source goes on counting meanwhile."""
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
"""While a move is here its partition counts nothing, or the target may not know yet that it is its owner."""

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
        raise MoveNotPossible(f"a move that is {state} cannot be {event}")
    return after
