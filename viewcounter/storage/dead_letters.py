"""Rows of dead_letter: events that could not be counted, stored for replay and inspection."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

import psycopg

from viewcounter.events.message import VIDEO_ID_MAX_CHARACTERS
from viewcounter.storage import binary
from viewcounter.storage.named_sql import load_queries
from viewcounter.storage.page_keys import PageKey, page_parameters

_SQL = load_queries("dead_letters.sql")

COUNT_NEW = _SQL["count_new"]
"""Parameters: partitions. A row each: partition, number of dead letters that wait for an operator."""
LIST_DEAD_LETTERS = _SQL["list_dead_letters"]
"""Parameters: partitions, limit and those of `list_parameters`. Rows as StoredDeadLetter, newest first."""
READ_DEAD_LETTER = _SQL["read_dead_letter"]
"""Parameters: id, partitions. One row or none, with payload."""

DETAIL_MAX_CHARACTERS = 500

Connection = psycopg.Connection[Any]


class DeadLetterState(StrEnum):
    NEW = "new"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """Fields of a refused event, as far as they could be read. `content`: digest of its content."""

    event_id: UUID
    content: int
    video_id: str
    type_id: int
    occurred_us: int
    value: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One event that could not be counted, or one log entry that could not be read (`event` is None).

    `payload` is a packed entry holding the event alone, or the entry's bytes. `position` is `term-seq`.
    """

    position: str
    reason: str
    detail: str
    payload: bytes
    event: RefusedEvent | None = None
    sqlstate: str | None = None
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A row. Columns of the event are None for an unreadable entry; `value` in thousandths."""

    id: int
    partition: int
    position: str
    reason: str
    sqlstate: str | None
    detail: str
    event_id: UUID | None
    video_id: str | None
    event_type_id: int | None
    occurred_at: datetime | None
    value: int | None
    attempts: int
    state: DeadLetterState
    actor: str
    created_at: datetime
    refused_at: datetime
    resolved_at: datetime | None
    payload_bytes: int

    @property
    def place(self) -> PageKey:
        return PageKey(self.created_at, self.partition, self.id)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        fields = {name: row[name] for name in cls.__dataclass_fields__}
        return cls(**fields | {"state": DeadLetterState(row["state"])})


@dataclass(frozen=True, slots=True)
class LockedDeadLetter:
    """A locked row, and the state of its partition. A change of the row would be lost while the partition is being
    moved, and when this shard no longer owns it (`is_here`)."""

    letter: StoredDeadLetter
    payload: bytes
    admits_since: datetime
    is_here: bool
    is_being_moved: bool


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """None means no restriction. `start` (inclusive) and `end` (exclusive) refer to the first refusal."""

    partition: int | None = None
    state: DeadLetterState | None = None
    reason: str | None = None
    video_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None


def list_parameters(wanted: DeadLetterFilter, *, before: PageKey | None, limit: int) -> dict[str, Any]:
    """Parameters of LIST_DEAD_LETTERS except `partitions`, which the router of the query adds."""
    return {
        "state": wanted.state,
        "reason": wanted.reason,
        "video_id": wanted.video_id,
        "start": wanted.start,
        "end": wanted.end,
        "limit": limit,
        **page_parameters(before),
    }


def insert_dead_letters(connection: Connection, letters: Sequence[DeadLetter], *, partition: int) -> None:
    """Inside the flush. A dead letter of an event that has a row already makes that row new again."""
    merged = _merge_same_events(letters)
    if not merged:
        return
    events = [letter.event for letter in merged]
    connection.execute(
        _SQL["insert_dead_letters"].text,
        {
            "partition": partition,
            "positions": [letter.position for letter in merged],
            "reasons": [letter.reason for letter in merged],
            "sqlstates": [letter.sqlstate for letter in merged],
            "details": [clean_text(letter.detail)[:DETAIL_MAX_CHARACTERS] for letter in merged],
            "event_ids": [event.event_id if event else None for event in events],
            "contents": [_as_signed(event.content) if event else None for event in events],
            "video_ids": [clean_text(event.video_id)[:VIDEO_ID_MAX_CHARACTERS] if event else None for event in events],
            "type_ids": [event.type_id if event else None for event in events],
            "occurred": [_find_instant(event.occurred_us) if event else None for event in events],
            "values": [event.value if event else None for event in events],
            "payloads": binary.byteas([letter.payload for letter in merged]),
            "attempts": [letter.attempts for letter in merged],
        },
    )


def lock_dead_letters(
    connection: Connection, ids: Collection[int], *, epochs: Mapping[int, int]
) -> list[LockedDeadLetter]:
    """Lock the rows. `epochs`: those of the partitions by the topology. Rows that do not exist are left out."""
    parameters = {"ids": list(ids), "partitions": list(epochs), "epochs": list(epochs.values())}
    connection.execute(_SQL["lock_partitions_of_dead_letters"].text, parameters)
    rows = connection.execute(_SQL["lock_dead_letters"].text, parameters).fetchall()
    return [
        LockedDeadLetter(
            StoredDeadLetter.from_row(row),
            bytes(row["payload"]),
            row["admits_since"],
            is_here=row["is_here"],
            is_being_moved=row["is_being_moved"],
        )
        for row in rows
    ]


def resolve_dead_letters(connection: Connection, ids: Collection[int], *, state: DeadLetterState, actor: str) -> None:
    if ids:
        connection.execute(_SQL["resolve_dead_letters"].text, {"ids": list(ids), "state": state, "actor": actor})


def _merge_same_events(letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """An upsert must not touch a row twice: repeats of an event within a flush become attempts of one dead letter."""
    merged: dict[object, DeadLetter] = {}
    for index, letter in enumerate(letters):
        key = index if letter.event is None else (letter.event.event_id, letter.event.content)
        first = merged.get(key)
        merged[key] = letter if first is None else replace(letter, attempts=first.attempts + letter.attempts)
    return list(merged.values())


def clean_text(text: str) -> str:
    """Text for people that PostgreSQL can store, without NUL and surrogates. The payload keeps the original."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _as_signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def _find_instant(microseconds: int) -> datetime | None:
    """None for a time outside the years 1 to 9999."""
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    except OverflowError:
        return None
