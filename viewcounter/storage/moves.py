"""The `partition_state` rows of a moving partition, on the source and on the target.

Invariants. Only one of the two is `owned` at an epoch of the topology. A copy is `incoming`, at position 0-0 until it
is complete. Each mover has a token, larger than the tokens of all earlier movers of the partition, and writes it to
both rows when it takes over. Every transaction of a mover locks the row and checks the token, or checks an epoch that
has ended for good. Each function runs in the caller's transaction and is idempotent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from shardproxy.connection import Purpose, format_session_name
from shardproxy.settings import APPLICATION_NAME
from viewcounter.storage.errors import (
    CleanUpOutOfDate,
    CopyTaken,
    MaintenanceHoldLost,
    MoverReplaced,
    PartitionNotHere,
)
from viewcounter.storage.named_sql import load_queries
from viewcounter.storage.partitions import OWNED

_SQL = load_queries("moves.sql")

READ_COPY = _SQL["read_copy"]
"""Parameters: partition. One row where the instance has one: epoch, position, state, move_token."""

_OF_THE_SHARD = frozenset(
    {"partition", "epoch", "state", "updated_at", "move_token", "maintenance_held_until", "raw_since", "owner"}
)
"""Columns of partition_state that belong to this shard; all others move with the partition."""
MAINTAINED = ("rolled_through", "admits_since", "minutes_since", "hours_since")
"""Columns that maintenance changes. Equal on source and copy while maintenance is held."""

_ABOVE_RANDOM_TOKENS = 0xFFFFFFFF << 96
"""Movers of earlier releases had random tokens: all are smaller than this."""

Connection = psycopg.Connection[Any]
Row = Mapping[str, Any]


def build_token(*, target_epoch: int, claim: int) -> UUID:
    """Pure. The token of the mover that claimed a move as the `claim`th. Each later mover of a partition has a larger
    one, since no two moves of a partition have the same target epoch. PostgreSQL compares uuids like these numbers."""
    return UUID(int=_ABOVE_RANDOM_TOKENS | target_epoch << 48 | claim)


def parse_token(token: UUID) -> tuple[int, int]:
    """Pure. Target epoch and claim of `build_token`; zeros for the random token of an earlier release."""
    if token.int >> 96 != _ABOVE_RANDOM_TOKENS >> 96:
        return 0, 0
    return (token.int >> 48) & 0xFFFFFFFFFFFF, token.int & 0xFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Side:
    """A partition on one of the two shards: its epoch there, and the token of one mover."""

    partition: int
    epoch: int
    token: UUID

    @property
    def keys(self) -> dict[str, Any]:
        return {"partition": self.partition, "epoch": self.epoch, "token": self.token}


def name_move_session(connection: Connection, *, seconds: float) -> None:
    """Marks a long transaction of a mover: the mover bounds it, so the session reaper spares it."""
    bounds = {
        "application_name": format_session_name(APPLICATION_NAME, Purpose.MOVE),
        "statement_timeout": f"{seconds * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{seconds * 1000:.0f}",
    }
    connection.execute(
        sql.SQL("; ").join(
            sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(value))
            for name, value in bounds.items()
        )
    )


def read_row(connection: Connection, partition: int) -> Row:
    """Raises PartitionNotHere."""
    row: Row | None = connection.execute(_SQL["read_row"].text, {"partition": partition}).fetchone()
    if row is None:
        raise PartitionNotHere(f"partition {partition} has no state row on its shard")
    return row


def hold_maintenance(connection: Connection, source: Side, *, seconds: float) -> None:
    """From the commit on, and for `seconds`, only flushes change the partition's rows.

    Raises PartitionNotHere, MoverReplaced.
    """
    _expect_hit(connection, "hold_maintenance", source, seconds=seconds)


def continue_maintenance_hold(connection: Connection, source: Side, *, seconds: float) -> None:
    """Raises MaintenanceHoldLost if the hold has expired since, or belongs to a later mover."""
    if not _run(connection, "continue_maintenance_hold", source, seconds=seconds):
        raise MaintenanceHoldLost(f"maintenance may have changed partition {source.partition} since it was copied")


def renew_maintenance_hold(connection: Connection, source: Side, *, seconds: float) -> None:
    """Raises MaintenanceHoldLost, also if another mover has taken over."""
    if not _run(connection, "renew_maintenance_hold", source, seconds=seconds):
        raise MaintenanceHoldLost(f"maintenance of partition {source.partition} is no longer held for this mover")


def hold_source(connection: Connection, source: Side) -> Row:
    """The row at the source's last position. Raises MaintenanceHoldLost."""
    row: Row | None = connection.execute(_SQL["hold_source"].text, source.keys).fetchone()
    if row is None:
        raise MaintenanceHoldLost(f"partition {source.partition} cannot be held: its maintenance hold has expired")
    return row


def unhold_source(connection: Connection, source: Side) -> bool:
    return bool(_run(connection, "unhold_source", source))


def free_source(connection: Connection, source: Side) -> None:
    _run(connection, "free_source", source)


def release_source(connection: Connection, source: Side) -> bool:
    """End reads and flushes of the partition on this shard. False if they were ended already."""
    return bool(_run(connection, "release_source", source))


def begin_copy(connection: Connection, target: Side) -> None:
    """Insert or reset the row of the copy.

    Raises PartitionNotHere if the target owns the partition or the move has ended: its rows must not be touched. Raises
    MoverReplaced.
    """
    _expect_hit(connection, "begin_copy", target)


def take_copy_over(connection: Connection, target: Side) -> None:
    """Raises CopyTaken if there is no copy."""
    if not _run(connection, "take_copy_over", target):
        raise CopyTaken(f"there is no copy of partition {target.partition} at epoch {target.epoch}")


def check_copy(connection: Connection, target: Side) -> None:
    """Lock the copy: no other mover takes it over until the transaction ends. Raises CopyTaken."""
    if not _run(connection, "check_copy", target):
        raise CopyTaken(f"the copy of partition {target.partition} belongs to another mover")


def check_moved_away(connection: Connection, side: Side, *, shard: str) -> None:
    """Lock the row: the partition cannot come to this shard until the transaction ends. Raises CleanUpOutOfDate."""
    if _run(connection, "check_moved_away", side):
        return
    found = connection.execute(_SQL["find_row"].text, side.keys).fetchone()
    state = f"state {found['state']}, epoch {found['epoch']}" if found else "no state row"
    raise CleanUpOutOfDate(
        f"partition {side.partition} on {shard} is no longer moved away as of epoch {side.epoch} ({state}):"
        " this clean-up is out of date, nothing was deleted"
    )


def finish_copy(connection: Connection, target: Side, row: Row, *, raw_since: datetime) -> None:
    """Mark the copy as complete, as of `row` of the source. Raises CopyTaken."""
    check_copy(connection, target)
    _set_columns(connection, target, row, raw_since=raw_since, state=None)


def activate_copy(connection: Connection, target: Side, row: Row) -> None:
    """Let the copy take flushes after the source's last position, which it must have reached. Raises CopyTaken."""
    check_copy(connection, target)
    copy = read_row(connection, target.partition)
    if copy["position"] != row["position"]:
        raise CopyTaken(f"the copy of partition {target.partition} is at {copy['position']}, not at {row['position']}")
    _set_columns(connection, target, row, raw_since=copy["raw_since"], state=OWNED)


def retire_copy(connection: Connection, target: Side) -> None:
    """From the commit on no mover of this move writes to the target's rows, or deletes rows of a later move."""
    _run(connection, "retire_copy", target)


def own_arrival(connection: Connection, target: Side) -> None:
    """Raises PartitionNotHere if the target has no row of the partition at this epoch, and MoverReplaced."""
    _expect_hit(connection, "own_arrival", target)


def limit_raw_claims(connection: Connection, *, oldest_day: datetime, partition: int) -> None:
    """Record that the other partitions here have no raw events before `oldest_day`. Call after `lock_every_row`."""
    connection.execute(_SQL["limit_raw_claims"].text, {"oldest_day": oldest_day, "partition": partition})


def _set_columns(connection: Connection, target: Side, row: Row, *, raw_since: datetime, state: str | None) -> None:
    values = {name: value for name, value in row.items() if name not in _OF_THE_SHARD}
    values |= {"raw_since": raw_since} | ({} if state is None else {"state": state})
    connection.execute(
        sql.SQL("UPDATE partition_state SET updated_at = now(), {} WHERE partition = {}").format(
            sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(n), sql.Placeholder(n)) for n in values),
            sql.Placeholder("partition"),
        ),
        {**values, "partition": target.partition},
    )


def _expect_hit(connection: Connection, name: str, side: Side, **parameters: Any) -> None:
    if _run(connection, name, side, **parameters):
        return
    found = connection.execute(_SQL["find_row"].text, side.keys).fetchone()
    if found and found["epoch"] == side.epoch and found["move_token"] and found["move_token"] > side.token:
        raise MoverReplaced(f"another mover has taken partition {side.partition} over")
    state = f"is {found['state']} at epoch {found['epoch']}" if found else "has no state row"
    raise PartitionNotHere(f"partition {side.partition} {state} on its shard, and the move knows epoch {side.epoch}")


def _run(connection: Connection, name: str, side: Side, **parameters: Any) -> int:
    return connection.execute(_SQL[name].text, {**side.keys, **parameters}).rowcount
