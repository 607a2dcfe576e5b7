"""Removes a partition's rows from a shard that no longer owns it, or does not own it yet."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from shardproxy.instance import RowConnection
from viewcounter.moves.throttle import wait_for_replicas
from viewcounter.moves.work import Work
from viewcounter.storage.copying import delete_pages, has_rows, list_relations
from viewcounter.storage.moved_tables import TABLES

Open = Callable[[], AbstractContextManager[RowConnection]]
Guard = Callable[[RowConnection], None]


def remove_rows(work: Work, open_transaction: Open, *, guard: Guard) -> int:
    """Delete all rows of the partition except its `partition_state`, `delete_pages` pages in each transaction.

    Each transaction begins with `guard`, which locks the partition's row in the state in which no reader needs the
    rows, or raises: this mover may have been frozen for hours since the transaction before. Returns the number of
    deleted rows. Idempotent.
    """
    with open_transaction() as connection:
        found = {
            name: page_count
            for table in reversed(TABLES)
            for name, page_count in list_relations(connection, table).items()
            if has_rows(connection, name, partition=work.partition)
        }
    removed = 0
    for name, page_count in found.items():
        for first in range(0, page_count, work.settings.delete_pages):
            wait_for_replicas(work)
            with open_transaction() as connection:
                guard(connection)
                removed += delete_pages(
                    connection,
                    name,
                    partition=work.partition,
                    first=first,
                    page_count=work.settings.delete_pages,
                )
    return removed
