"""A prepared batch cut to some of its events. Pure."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from viewcounter.deadletters.bisection import BatchRefusal, Rows
from viewcounter.events.columns import Columns
from viewcounter.processing.aggregation import MICROSECONDS_PER_HOUR, aggregate, find_types
from viewcounter.processing.batch import NO_CONFLICTS, UNREADABLE_ENTRY, PreparedBatch, build_dead_letter, merge_lines
from viewcounter.storage.dead_letter_limits import count_range
from viewcounter.storage.dead_letters import DeadLetter
from viewcounter.storage.flush import FlushBatch, IdBlock, LedgerLine

REFUSED_BY_SHARD = "refused_by_shard"


def select_events(batch: FlushBatch, rows: Rows, *, position: str) -> FlushBatch:
    """Only these rows of `batch.counted`: their raw rows, ids and aggregates; no ledger and no dead letters.

    Ids are stored by partition, minute and position: parts that are to stand beside each other need their own.
    """
    counted = batch.counted.select(rows)
    aggregated = aggregate(counted)
    used_types = find_types(counted)
    return replace(
        batch,
        new_position=position,
        counted=counted.select(aggregated.order),
        id_blocks=_build_id_blocks(counted),
        minutes=aggregated.minutes,
        totals=aggregated.totals,
        ledger=[],
        dead_letters=[],
        conflicts=NO_CONFLICTS,
        event_types={type_id: batch.event_types[type_id] for type_id in used_types},
    )


def remove_events(prepared: PreparedBatch, refused: Mapping[int, BatchRefusal]) -> PreparedBatch:
    """The same range with these rows of `batch.counted` as dead letters: not counted, their ids not stored.

    Repeats of a refused event within the range stay what they were, duplicates or conflicts.
    """
    if not refused:
        return prepared
    batch = prepared.batch
    bad_rows = np.array(sorted(refused), dtype=np.intp)
    kept_rows = np.setdiff1d(np.arange(len(batch.counted)), bad_rows)
    bad = batch.counted.select(bad_rows)
    is_dead = prepared.is_dead.copy()
    is_dead[prepared.counted_rows[bad_rows]] = True
    letters = [_bury(batch, int(row), refused[int(row)]) for row in bad_rows]
    unreadable_count = sum(letter.reason == UNREADABLE_ENTRY for letter in batch.dead_letters)
    kept = select_events(batch, kept_rows, position=batch.new_position)
    return replace(
        prepared,
        batch=replace(
            kept,
            ledger=merge_lines([*batch.ledger, *_move_to_dead(bad)]),
            dead_letters=[*batch.dead_letters, *letters],
            conflicts=batch.conflicts,
            tally=count_range(is_dead, unreadable_count=unreadable_count),
        ),
        is_dead=is_dead,
        counted_rows=prepared.counted_rows[kept_rows],
    )


def _bury(batch: FlushBatch, row: int, refusal: BatchRefusal) -> DeadLetter:
    return build_dead_letter(
        batch.counted,
        row,
        position=batch.new_position,
        reason=REFUSED_BY_SHARD,
        detail=refusal.message,
        sqlstate=refusal.sqlstate,
    )


def _build_id_blocks(columns: Columns) -> list[IdBlock]:
    """For events that are all new and distinct; there may be none."""
    if not len(columns):
        return []
    minutes, words, contents = columns.id_minutes(), columns.id_words(), columns.content_digests()
    order = np.lexsort((words[:, 1], words[:, 0], minutes))
    ids, contents = columns.event_ids[order], contents[order]
    found, starts = np.unique(minutes[order], return_index=True)
    ends = [*starts[1:].tolist(), len(order)]
    return [
        IdBlock(minute, ids[start:end], contents[start:end])
        for minute, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True)
    ]


def _move_to_dead(bad: Columns) -> list[LedgerLine]:
    """What to add to the lines of a batch that counted these events."""
    digests = bad.id_digests().tolist()
    hours = (bad.occurred_us // MICROSECONDS_PER_HOUR).tolist()
    return [
        LedgerLine(hour_us=hour * MICROSECONDS_PER_HOUR, counted=-1, dead_lettered=1, digest=-digest)
        for hour, digest in zip(hours, digests, strict=True)
    ]
