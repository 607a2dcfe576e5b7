"""Compares a copy with its source, both at the same position of the event log."""

from collections.abc import Mapping, Sequence

from shardproxy.instance import RowConnection
from viewcounter.eventlog.interface import Position
from viewcounter.moves.catching_up import Replayer
from viewcounter.moves.copying import get_raw_since
from viewcounter.moves.errors import CopyDiffers
from viewcounter.moves.work import Work
from viewcounter.storage.comparison import CompareRules, Digest, digest_table
from viewcounter.storage.moved_tables import EVENT_IDS, EVENT_TOTAL, LEDGER, TABLES, MovedTable
from viewcounter.storage.moves import MAINTAINED, Row, read_row
from viewcounter.storage.raw_days import find_raw_start
from viewcounter.storage.snapshots import begin_snapshot

Digests = Mapping[str, Digest]

WHOLE = tuple(table for table in TABLES if table.is_compared or table is EVENT_IDS)
BRIEF = (LEDGER, EVENT_TOTAL)
"""Tables in which every change of the last delta shows: the ledger (digests of event ids by hour) and all totals."""


def find_differences(source: Digests, copy: Digests) -> list[str]:
    """Pure. One message for each table that differs."""
    return [
        f"{name}: {digest.row_count} rows, {copy[name].row_count} in the copy"
        + (", not the same ones" if digest.row_count == copy[name].row_count else "")
        for name, digest in source.items()
        if digest != copy[name]
    ]


def compare_whole(work: Work, replayer: Replayer) -> None:
    """Compare every row while the source keeps counting: a snapshot of the source, and the copy at that position.

    Raises CopyDiffers.
    """
    seconds = work.settings.copy_seconds
    with work.open_target() as target:
        copy_since = get_raw_since(read_row(target, work.partition), find_raw_start(target))
    with work.open_source(seconds=seconds) as source:
        begin_snapshot(source)
        row = read_row(source, work.partition)
        raw_since = max(copy_since, get_raw_since(row, find_raw_start(source)))
        rules = CompareRules(raw_since=raw_since, copied_at=work.move.copied_at_position)
        expected = _digest(work, source, WHOLE, rules)
    replayer.replay(until=Position.parse(row["position"]))
    with work.open_target(seconds=seconds) as target:
        begin_snapshot(target)
        copy = read_row(target, work.partition)
        check_rows(row, copy)
        found = _digest(work, target, WHOLE, rules)
    _check(expected, found)


def compare_last(work: Work, row: Row) -> None:
    """Compare the tables of BRIEF after the last delta, while the source is held at `row`. Raises CopyDiffers."""
    rules = CompareRules(raw_since=row["raw_since"], copied_at=work.move.copied_at_position)
    with work.open_source() as source:
        expected = _digest(work, source, BRIEF, rules)
    with work.open_target() as target:
        check_rows(row, read_row(target, work.partition))
        found = _digest(work, target, BRIEF, rules)
    _check(expected, found)


def check_rows(source: Row, copy: Row) -> None:
    """Pure. Raises CopyDiffers unless position and maintenance marks of both `partition_state` rows are equal."""
    for name in ("position", *MAINTAINED):
        if source[name] != copy[name]:
            raise CopyDiffers(f"{name}: {source[name]}, {copy[name]} in the copy")


def _digest(work: Work, connection: RowConnection, tables: Sequence[MovedTable], rules: CompareRules) -> Digests:
    found = {}
    for table in tables:
        work.check()
        found[table.name] = digest_table(connection, table, partition=work.partition, rules=rules)
    return found


def _check(expected: Digests, found: Digests) -> None:
    differences = find_differences(expected, found)
    if differences:
        raise CopyDiffers("; ".join(differences))
