"""Rows of what the event log has lost, as operators see and close them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self

import psycopg

from viewcounter.storage.named_sql import load_queries
from viewcounter.storage.page_keys import PageKey, page_parameters

_SQL = load_queries("log_losses.sql")

LIST_LOG_LOSSES = _SQL["list_log_losses"]
"""Parameters: partitions and those of `list_parameters`. Rows as StoredLoss, newest first."""

Connection = psycopg.Connection[Any]


class LossOutcome(StrEnum):
    """`accepted`: the events are lost for good. `salvaged`: they were appended again and have been applied."""

    ACCEPTED = "accepted"
    SALVAGED = "salvaged"


class LossKey(NamedTuple):
    """Of a row, over all shards."""

    partition: int
    id: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`partition-id`. Raises ValueError."""
        partition, _, row_id = text.partition("-")
        return cls(int(partition), int(row_id))

    def __str__(self) -> str:
        return f"{self.partition}-{self.id}"


@dataclass(frozen=True, slots=True)
class StoredLoss:
    """Entries past `after_position`, up to and including `through_position` (both `term-seq`), may be lost.

    `outcome` is empty, and `closed_at` None, until the loss is closed.
    """

    id: int
    partition: int
    after_position: str
    through_position: str
    reason: str
    detail: str
    found_at: datetime
    closed_at: datetime | None
    closed_by: str
    close_reason: str
    outcome: str

    @property
    def key(self) -> LossKey:
        return LossKey(self.partition, self.id)

    @property
    def place(self) -> PageKey:
        return PageKey(self.found_at, self.partition, self.id)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


def list_parameters(*, only_open: bool, before: PageKey | None, limit: int) -> dict[str, Any]:
    """Parameters of LIST_LOG_LOSSES except `partitions`, which the router of the query adds."""
    return {"only_open": only_open, "limit": limit, **page_parameters(before)}


def lock_partitions_to_close(connection: Connection, partitions: Collection[int]) -> dict[int, str]:
    """The positions of those partitions that are on this shard; they stay so until the transaction ends."""
    rows = connection.execute(_SQL["lock_partitions_to_close"].text, {"partitions": sorted(partitions)})
    return {row["partition"]: row["position"] for row in rows}


def close_log_losses(
    connection: Connection, keys: Sequence[LossKey], *, outcome: LossOutcome, actor: str, reason: str
) -> frozenset[LossKey]:
    """After `lock_partitions_to_close`, of its partitions. Returns those that were closed now."""
    rows = connection.execute(
        _SQL["close_log_losses"].text,
        {
            "partitions": [key.partition for key in keys],
            "ids": [key.id for key in keys],
            "outcome": outcome.value,
            "actor": actor,
            "reason": reason,
        },
    )
    return frozenset(LossKey(row["partition"], row["id"]) for row in rows)


def insert_rest_of_loss(connection: Connection, key: LossKey, *, after: str, through: str, detail: str) -> None:
    """A part of a loss that goes on to be open when the rest is closed as salvaged, in the same transaction."""
    connection.execute(
        _SQL["insert_rest_of_loss"].text,
        {"partition": key.partition, "id": key.id, "after": after, "through": through, "detail": detail},
    )
