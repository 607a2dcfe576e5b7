"""Prometheus metrics of moves."""

from configservice.models import Move
from configservice.moves.records import count_unfinished
from configservice.moves.states import FINISHED, MoveState
from runtime.metrics import MOVE_HELD_SECONDS, MOVE_SECONDS, MOVES, MOVES_UNFINISHED
from viewcounter.moves.answers import get_held_seconds


def count_ended(move: Move) -> None:
    """Called once, by the mover that made the last step."""
    MOVES.labels(move.state).inc()
    if move.started_at is not None and move.finished_at is not None:
        MOVE_SECONDS.observe((move.finished_at - move.started_at).total_seconds())
    held_seconds = get_held_seconds(move)
    if held_seconds is not None:
        MOVE_HELD_SECONDS.observe(held_seconds)


def publish_unfinished() -> None:
    """Set the gauge of each unfinished state, to 0 where no move is in it. Raises DatabaseError."""
    counts = count_unfinished()
    for state in MoveState:
        if state not in FINISHED:
            MOVES_UNFINISHED.labels(state).set(counts.get(state, 0))
