"""Which log a partition's row takes entries of, and the rows of what a log has lost.

Invariant: a batch changes nothing once its row names another session than the one in which it was read. A log that
comes back with older data gets a new session before anything is appended to it, so no batch of before can move a
position past what is appended afterwards.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg

from viewcounter.storage.named_sql import load_queries

_SQL = load_queries("log_sessions.sql")

READ_LOG_LOSSES = _SQL["read_log_losses"]
"""Parameters: partitions. A row for each loss: id, partition, after_position, through_position, reason, detail,
found_at, closed_at, closed_by, close_reason."""

Connection = psycopg.Connection[Any]


class LossReason(StrEnum):
    """`replaced`: a term of the log began after a loss. `trimmed`: the log did not reach back to the shard's position.
    `missing`: a gateway names an entry that the log does not have."""

    REPLACED = "replaced"
    TRIMMED = "trimmed"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class LostRange:
    """Entries of a partition past the position `after`, up to and including `through` (both `term-seq`)."""

    after: str
    through: str
    reason: LossReason
    detail: str = ""


def adopt_log_session(
    connection: Connection, partitions: Collection[int], *, term: int, session: str, waits: bool = True
) -> int:
    """The rows take entries of this session from now on, except those that know a higher term, and without `waits`
    those that another transaction holds. Returns their number."""
    statement = _SQL["adopt_log_session" if waits else "adopt_log_session_of_free_rows"]
    return connection.execute(
        statement.text, {"partitions": sorted(partitions), "term": term, "session": session}
    ).rowcount


def raise_log_term(connection: Connection, partitions: Collection[int], *, term: int) -> int:
    """The rows take no entry until a session of `term` is adopted. Returns the number of rows changed."""
    return connection.execute(_SQL["raise_log_term"].text, {"partitions": sorted(partitions), "term": term}).rowcount


def insert_log_losses(connection: Connection, losses: Sequence[tuple[int, LostRange]]) -> None:
    """In the transaction that moves the positions past them. `losses`: with their partitions."""
    if not losses:
        return
    connection.execute(
        _SQL["insert_log_losses"].text,
        {
            "partitions": [partition for partition, _ in losses],
            "after": [loss.after for _, loss in losses],
            "through": [loss.through for _, loss in losses],
            "reasons": [loss.reason.value for _, loss in losses],
            "details": [loss.detail for _, loss in losses],
        },
    )
