"""The rows of `partition_state` of a partition that moves, on the source and on the target.

Invariants. Only one of the two is `owned` at an epoch that the topology knows. A copy is `incoming`, at position 0-0
until it is complete. Each mover has a token, larger than those of all movers of the partition before it, which it
writes on both rows when it takes over; every transaction of a mover asks for it, or for an epoch that is over for good,
under a lock on the row. Each function runs in the caller's transaction and may run twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from shardproxy.session_names import Purpose, format_session_name
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
    {"partition", "epoch", "state", "updated_at", "move_token", "maintenance_held_until", "raw_since"}
)
"""Columns of partition_state that are this shard's own; all others come with the partition."""
MAINTAINED = ("rolled_through", "admits_since", "minutes_since", "hours_since")
"""What maintenance changes: as it is held, source and copy have the same."""

_ABOVE_RANDOM_TOKENS = 0xFFFFFFFF << 96
"""Movers of earlier releases had random ones: theirs are smaller."""

Connection = psycopg.Connection[Any]
Row = Mapping[str, Any]


def build_token(*, target_epoch: int, claim: int) -> UUID:
    """Pure. Of the mover that was the `claim`th to take a move up. Each later mover of a partition has a larger one, as
    no two moves of a partition have the same target epoch. PostgreSQL compares uuids as it would these numbers."""
    return UUID(int=_ABOVE_RANDOM_TOKENS | target_epoch << 48 | claim)


@dataclass(frozen=True, slots=True)
class Side:
    """A partition on one of the two shards, as one mover knows it."""

    partition: int
    epoch: int
    token: UUID

    @property
    def keys(self) -> dict[str, Any]:
        return {"partition": self.partition, "epoch": self.epoch, "token": self.token}


def name_move_session(connection: Connection, *, seconds: float) -> None:
    """For long transactions of a mover: bounded by the mover, and spared by the session reaper."""
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
    """From the commit on, and for so long, only flushes change the partition's rows.

    Raises PartitionNotHere, MoverReplaced.
    """
    _expect_hit(connection, "hold_maintenance", source, seconds=seconds)


def continue_maintenance_hold(connection: Connection, source: Side, *, seconds: float) -> None:
    """Raises MaintenanceHoldLost when it has run out since, or a mover that came later has it."""
    if not _run(connection, "continue_maintenance_hold", source, seconds=seconds):
        raise MaintenanceHoldLost(f"partition {source.partition} may have been rolled up or cut since it was copied")


def renew_maintenance_hold(connection: Connection, source: Side, *, seconds: float) -> None:
    """Raises MaintenanceHoldLost, also when another mover has taken over."""
    if not _run(connection, "renew_maintenance_hold", source, seconds=seconds):
        raise MaintenanceHoldLost(f"maintenance of partition {source.partition} is no longer held for this mover")


def hold_source(connection: Connection, source: Side) -> Row:
    """The row at the source's last position. Raises MaintenanceHoldLost."""
    row: Row | None = connection.execute(_SQL["hold_source"].text, source.keys).fetchone()
    if row is None:
        raise MaintenanceHoldLost(f"partition {source.partition} cannot be held: maintenance was not held until now")
    return row


def unhold_source(connection: Connection, source: Side) -> bool:
    return bool(_run(connection, "unhold_source", source))


def free_source(connection: Connection, source: Side) -> None:
    _run(connection, "free_source", source)


def release_source(connection: Connection, source: Side) -> bool:
    """Nobody reads or counts by this row any more. False when it was so already."""
    return bool(_run(connection, "release_source", source))


def begin_copy(connection: Connection, target: Side) -> None:
    """Raises PartitionNotHere when the target owns the partition, or the move is over: nothing of it may be touched.

    Raises MoverReplaced.
    """
    _expect_hit(connection, "begin_copy", target)


def take_copy_over(connection: Connection, target: Side) -> None:
    """Raises CopyTaken when there is no copy."""
    if not _run(connection, "take_copy_over", target):
        raise CopyTaken(f"there is no copy of partition {target.partition} at epoch {target.epoch}")


def check_copy(connection: Connection, target: Side) -> None:
    """Until the transaction ends nobody else takes the copy over. Raises CopyTaken."""
    if not _run(connection, "check_copy", target):
        raise CopyTaken(f"the copy of partition {target.partition} belongs to another mover")


def check_moved_away(connection: Connection, side: Side, *, shard: str) -> None:
    """Until the transaction ends nothing of the partition comes to this shard. Raises CleanUpOutOfDate."""
    if _run(connection, "check_moved_away", side):
        return
    found = connection.execute(_SQL["find_row"].text, side.keys).fetchone()
    state = f"state {found['state']}, epoch {found['epoch']}" if found else "no state row"
    raise CleanUpOutOfDate(
        f"partition {side.partition} on {shard} is no longer moved away as of epoch {side.epoch} ({state}):"
        " this clean-up is out of date, nothing was removed"
    )


def finish_copy(connection: Connection, target: Side, row: Row, *, raw_since: datetime) -> None:
    """The copy is complete, as of `row` of the source. Raises CopyTaken."""
    check_copy(connection, target)
    _set_columns(connection, target, row, raw_since=raw_since, state=None)


def activate_copy(connection: Connection, target: Side, row: Row) -> None:
    """It could count from the source's last position on, which it must have reached. Raises CopyTaken."""
    check_copy(connection, target)
    copy = read_row(connection, target.partition)
    if copy["position"] != row["position"]:
        raise CopyTaken(f"the copy of partition {target.partition} is at {copy['position']}, not at {row['position']}")
    _set_columns(connection, target, row, raw_since=copy["raw_since"], state=OWNED)


def retire_copy(connection: Connection, target: Side) -> None:
    """From the commit on no mover of this move writes to the target's rows, or removes any that came after it."""
    _run(connection, "retire_copy", target)


def own_arrival(connection: Connection, target: Side) -> None:
    """Raises PartitionNotHere when the target has nothing of the partition at this epoch; MoverReplaced."""
    _expect_hit(connection, "own_arrival", target)


def limit_raw_claims(connection: Connection, *, oldest_day: datetime, partition: int) -> None:
    """The other partitions here have no raw events of days before `oldest_day`. After `lock_every_row`."""
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
