"""Which tables move with a partition, and what of their rows must be equal in the end.

Invariant: every table of a shard with a column `partition` stands here, or is `partition_state`, whose row moves by
itself (`storage/moves.py`). Columns are read from the shard, so a new one moves without being named; a new table does
not, and a test says so.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MovedTable:
    """`not_compared` may differ between a row that was copied, or counted, here and one there.

    Of a table with `copied_rows_only` those are compared that were written at or before the copy's position. `order_by`
    is given where the order of numbers, which are given anew, means something.
    """

    name: str
    not_compared: frozenset[str] = frozenset()
    copied_rows_only: bool = False
    is_compared: bool = True
    order_by: str | None = None


RAW_EVENT = MovedTable("raw_event")
EVENT_IDS = MovedTable("event_ids", is_compared=False)
"""Its rows are cut by flushes, and those of the copy begin and end elsewhere: the ids in them are compared."""
LEDGER = MovedTable("ledger")
EVENT_TOTAL = MovedTable("event_total")

TABLES = (
    # The catalogue goes on changing meanwhile; the cursor that comes along has the target's sync catch up.
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
    # A flush keeps the first few conflicts of it: which, depends on where it begins.
    MovedTable("event_conflict", copied_rows_only=True, order_by="id"),
    MovedTable("correction", order_by="id"),
    EVENT_IDS,
    RAW_EVENT,
)
"""In the order in which they are copied: what others refer to comes first. Removed in the opposite order."""
