"""Makes the copy: one snapshot of the source, written block by block into the target."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from configservice.moves.records import record_total
from shardproxy.instance import RowConnection
from viewcounter.moves.cleanup import remove_rows
from viewcounter.moves.errors import SourceNotOwned
from viewcounter.moves.throttle import wait_for_replicas
from viewcounter.moves.work import Work
from viewcounter.storage.copying import (
    Block,
    count_rows,
    ensure_event_types,
    estimate_raw_rows,
    list_columns,
    read_blocks,
    read_channels,
    read_event_types,
    write_block,
    write_channels,
)
from viewcounter.storage.errors import PartitionNotHere
from viewcounter.storage.moved_tables import RAW_EVENT, TABLES, MovedTable
from viewcounter.storage.moves import (
    Row,
    begin_copy,
    check_copy,
    finish_copy,
    hold_maintenance,
    limit_raw_claims,
    read_row,
    unhold_source,
)
from viewcounter.storage.partitions import lock_every_row
from viewcounter.storage.raw_days import find_raw_start, list_raw_days, make_raw_days
from viewcounter.storage.snapshots import begin_snapshot


@dataclass(frozen=True, slots=True)
class Copied:
    """A finished copy. `position` is the source's in the snapshot, `term-seq`."""

    position: str
    row_count: int
    seconds: float


def take_source_over(work: Work) -> None:
    """From now on only flushes change the source's rows, and the source takes flushes. Raises SourceNotOwned."""
    try:
        with work.open_source() as source:
            hold_maintenance(source, work.source, seconds=work.settings.maintenance_hold_seconds)
            unhold_source(source, work.source)
    except PartitionNotHere as error:
        raise SourceNotOwned(str(error)) from error


def prepare_target(work: Work) -> None:
    """Create the target's `partition_state` row and day partitions, and delete the rows of an earlier copy."""
    with work.open_target() as target:
        begin_copy(target, work.target)
    with work.open_source() as source:
        days = list_raw_days(source)
    with work.open_target() as target:
        oldest = find_raw_start(target)
        if days and oldest is not None and min(days) < oldest.date():
            lock_every_row(target)
            check_copy(target, work.target)
            limit_raw_claims(target, oldest_day=oldest, partition=work.partition)
        else:
            check_copy(target, work.target)
        make_raw_days(target, days)
    remove_rows(work, work.open_target, guard=lambda target: check_copy(target, work.target))


def copy_partition(work: Work) -> Copied:
    """Copy into the prepared target while the source keeps counting. Raises CopyTaken after another mover's claim."""
    started_at = time.monotonic()
    work.rows_copied = 0
    with work.open_source(seconds=work.settings.copy_seconds) as source:
        begin_snapshot(source)
        row = read_row(source, work.partition)
        raw_since = get_raw_since(row, find_raw_start(source))
        _record_total(work, source, raw_since=raw_since)
        _copy_shared(work, source)
        for table in TABLES:
            columns = list_columns(source, table)
            blocks = read_blocks(
                source, table, columns, partition=work.partition, block_bytes=work.settings.block_bytes
            )
            _write(work, table, columns, blocks)
    with work.open_target() as target:
        finish_copy(target, work.target, row, raw_since=raw_since)
    return Copied(row["position"], work.rows_copied, time.monotonic() - started_at)


def _record_total(work: Work, source: RowConnection, *, raw_since: datetime) -> None:
    total = count_rows(source, [table for table in TABLES if table is not RAW_EVENT], partition=work.partition)
    total += estimate_raw_rows(source, partition=work.partition, since=raw_since)
    work.move.rows_total = total
    record_total(work.move)


def _copy_shared(work: Work, source: RowConnection) -> None:
    """Copy event types and channels, to which rows of the partition refer. Earlier moves may have copied them."""
    types = read_event_types(source)
    with work.open_target() as target:
        check_copy(target, work.target)
        ensure_event_types(target, types)
    for channels in read_channels(source, partition=work.partition):
        wait_for_replicas(work)
        with work.open_target() as target:
            check_copy(target, work.target)
            write_channels(target, channels)


def _write(work: Work, table: MovedTable, columns: list[str], blocks: Iterator[Block]) -> None:
    for block in blocks:
        wait_for_replicas(work)
        with work.open_target() as target:
            check_copy(target, work.target)
            write_block(target, table, columns, block)
        work.count_copied(block.row_count)


def get_raw_since(row: Row, raw_start: datetime | None) -> datetime:
    """The instant since which a side holds all its raw events."""
    since: datetime = row["raw_since"]
    return since if raw_start is None else max(since, raw_start)
