"""The tables that move with a partition, and the columns that must be equal on both sides afterwards.

Invariant: every table of a shard with a column `partition` is listed here, except `partition_state`, whose row has its
own protocol (`storage/moves.py`), and unlogged tables, whose rows may be lost at any time. Columns are read from the
shard, so a new column moves without being listed; a new table does not, which a test detects.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MovedTable:
    """A table and how it is copied and compared. Columns in `not_compared` may differ between source and copy.

    With `copied_rows_only`, rows are compared that were written at or before the copy's position. `order_by` is set
    where the order of generated numbers, which are generated anew, has a meaning.
    """

    name: str
    not_compared: frozenset[str] = frozenset()
    copied_rows_only: bool = False
    is_compared: bool = True
    order_by: str | None = None


RAW_EVENT = MovedTable("raw_event")
EVENT_IDS = MovedTable("event_ids", is_compared=False)
"""Not compared by row: flushes of the copy end at other positions, so its rows hold other ranges. Ids are compared."""
LEDGER = MovedTable("ledger")
EVENT_TOTAL = MovedTable("event_total")

TABLES = (
    # The catalogue may change meanwhile; the copied cursor makes the target's sync catch up.
    MovedTable("video", not_compared=frozenset({"channel_id", "title", "revision"})),
    MovedTable("catalogue_cursor", is_compared=False),
    EVENT_TOTAL,
    MovedTable("event_minute"),
    MovedTable("event_hour"),
    MovedTable("event_day"),
    MovedTable("rollup_dirty"),
    MovedTable("event_sketch"),
    MovedTable("sketch_due"),
    LEDGER,
    MovedTable(
        "dead_letter",
        not_compared=frozenset({"position", "detail", "created_at", "refused_at"}),
        order_by="id",
    ),
    # A flush stores only its first conflicts; which ones depends on the position where it begins.
    MovedTable("event_conflict", copied_rows_only=True, order_by="id"),
    MovedTable("correction", order_by="id"),
    MovedTable("log_loss", not_compared=frozenset({"found_at"}), order_by="id"),
    EVENT_IDS,
    RAW_EVENT,
)
"""In the order of copying: tables before those that refer to them. Rows are deleted in the opposite order."""
