"""State machine of a change of primary: an enum and a pure transition. The table documents it."""

from enum import StrEnum


class FailoverKind(StrEnum):
    AUTOMATIC = "automatic"
    """The primary is dead: promote another instance as fast as possible."""
    FORCED = "forced"
    """An operator requested another primary now, whether or not the present one answers."""
    SWITCHOVER = "switchover"
    """An operator requested another primary; the present one is healthy, and no request may fail."""
    FOLLOWED = "followed"
    """The primary was changed outside of the config service."""


class FailoverState(StrEnum):
    REQUESTED = "requested"
    """An operator sent the request; no leader has started it yet."""
    STARTED = "started"
    """Standbys are being detached; for a switchover, writes are being held."""
    CHOSEN = "chosen"
    """Candidate and shard term are recorded; the change can still be undone."""
    PROMOTING = "promoting"
    """The promotion of the candidate has been sent or will be: the change cannot be undone."""
    PROMOTED = "promoted"
    """The candidate has left recovery; the other standbys are being repointed."""
    DONE = "done"
    """The new primary is published."""
    UNDONE = "undone"
    """The old primary stays primary; standbys follow it again."""
    REFUSED = "refused"
    """The request is not possible; nothing was changed."""


class FailoverEvent(StrEnum):
    START = "start"
    CHOOSE = "choose"
    """A candidate is chosen with a new shard term; repeated if the previous candidate did not leave recovery."""
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
    """Raises ValueError for an event that is invalid in this state."""
    try:
        return _TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"event {event} is invalid in state {state}") from None
