"""The states of a change of primary. Enum and one pure transition; the table is the documentation."""

from enum import StrEnum


class FailoverKind(StrEnum):
    AUTOMATIC = "automatic"
    """The primary is dead: another one, as fast as can be."""
    FORCED = "forced"
    """An operator wants another primary now, whether or not this one answers."""
    SWITCHOVER = "switchover"
    """An operator wants another primary; this one is well, and no request may fail."""
    FOLLOWED = "followed"
    """Somebody else has changed it."""


class FailoverState(StrEnum):
    REQUESTED = "requested"
    """An operator asks; no leader has looked at it yet."""
    STARTED = "started"
    """Standbys are being detached; for a switchover, writes are being held."""
    CHOSEN = "chosen"
    """Candidate and term stand; it can still be undone."""
    PROMOTING = "promoting"
    """The candidate has been told to leave recovery, or will be: there is no way back."""
    PROMOTED = "promoted"
    """The candidate has left recovery; the others are being pointed to it."""
    DONE = "done"
    """Published."""
    UNDONE = "undone"
    """The old primary is still the one; standbys follow it again."""
    REFUSED = "refused"
    """It could not be begun; nothing was changed."""


class FailoverEvent(StrEnum):
    START = "start"
    CHOOSE = "choose"
    """A candidate with a term of its own; again when the last one never left recovery."""
    PROMOTE = "promote"
    LEAVE_RECOVERY = "leave recovery"
    PUBLISH = "publish"
    UNDO = "undo"
    REFUSE = "refuse"


FINISHED = frozenset({FailoverState.DONE, FailoverState.UNDONE, FailoverState.REFUSED})

_TRANSITIONS = {
    (FailoverState.REQUESTED, FailoverEvent.START): FailoverState.STARTED,
    (FailoverState.REQUESTED, FailoverEvent.REFUSE): FailoverState.REFUSED,
    (FailoverState.STARTED, FailoverEvent.CHOOSE): FailoverState.CHOSEN,
    (FailoverState.STARTED, FailoverEvent.UNDO): FailoverState.UNDONE,
    (FailoverState.CHOSEN, FailoverEvent.CHOOSE): FailoverState.CHOSEN,
    (FailoverState.CHOSEN, FailoverEvent.PROMOTE): FailoverState.PROMOTING,
    (FailoverState.CHOSEN, FailoverEvent.LEAVE_RECOVERY): FailoverState.PROMOTED,
    (FailoverState.PROMOTING, FailoverEvent.CHOOSE): FailoverState.CHOSEN,
    (FailoverState.PROMOTING, FailoverEvent.LEAVE_RECOVERY): FailoverState.PROMOTED,
    (FailoverState.CHOSEN, FailoverEvent.UNDO): FailoverState.UNDONE,
    (FailoverState.PROMOTED, FailoverEvent.PUBLISH): FailoverState.DONE,
}


def transition(state: FailoverState, event: FailoverEvent) -> FailoverState:
    """Raises ValueError for an event that has no place in this state."""
    try:
        return _TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"{event} has no place in state {state}") from None
