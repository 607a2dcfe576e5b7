"""A move as JSON, for the API and for commands."""

from typing import Any

from configservice.models import Move


def get_progress(move: Move) -> float | None:
    """Share of the rows copied so far, 0 to 1; None before the number of rows is known."""
    return min(1.0, move.rows_copied / move.rows_total) if move.rows_total else None


def get_held_seconds(move: Move) -> float | None:
    """Seconds for which the partition took no flush; None before the flip."""
    if move.held_at is None or move.flipped_at is None:
        return None
    return float((move.flipped_at - move.held_at).total_seconds())


def encode_move(move: Move) -> dict[str, Any]:
    """The fields of a move; times are datetimes."""
    return {
        "id": move.pk,
        "partition": move.partition,
        "from": move.source.name,
        "to": move.target.name,
        "state": move.state,
        "progress": get_progress(move),
        "rows_copied": move.rows_copied,
        "copy_seconds": move.copy_seconds,
        "held_seconds": get_held_seconds(move),
        "setbacks": move.setbacks,
        "error": move.error or None,
        "actor": move.actor,
        "created_at": move.created_at,
        "started_at": move.started_at,
        "flipped_at": move.flipped_at,
        "finished_at": move.finished_at,
    }
