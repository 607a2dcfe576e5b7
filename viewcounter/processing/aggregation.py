"""Aggregates the events of a batch to one row per key, by sorting arrays: no per-event Python.

Keys come out sorted by (video, type, minute), the order in which the upserts touch the index: flushes that
overlap take their row locks in the same order.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viewcounter.events.columns import MICROSECONDS_PER_MINUTE, Columns, narrow
from viewcounter.processing.deduplication import Verdict
from viewcounter.storage.flush_batch import Aggregates, LedgerLine

MICROSECONDS_PER_HOUR = 60 * MICROSECONDS_PER_MINUTE


@dataclass(frozen=True, slots=True)
class AggregatedBatch:
    """`order`: the rows of the events, sorted by (video, type, minute)."""

    minutes: Aggregates
    totals: Aggregates
    order: NDArray[np.intp]


def aggregate(columns: Columns) -> AggregatedBatch:
    """count, sum, min and max of `values` for each (video, type, minute) and each (video, type)."""
    by_text = sorted(range(len(columns.videos)), key=columns.videos.__getitem__)  # by code point, as by bytes in UTF-8
    rank = np.empty(len(columns.videos), dtype=np.int64)
    rank[by_text] = np.arange(len(by_text))
    minutes = columns.minutes()
    order = np.lexsort((narrow(minutes), columns.type_ids, narrow(rank)[columns.video_index]))
    video_index, type_ids = columns.video_index[order], columns.type_ids[order]
    minutes, values = minutes[order], columns.values[order]
    same_video_and_type = (video_index[1:] == video_index[:-1]) & (type_ids[1:] == type_ids[:-1])
    same_minute = same_video_and_type & (minutes[1:] == minutes[:-1])
    minute_rows = _find_first(same_minute, len(values))
    total_rows = _find_first(same_video_and_type, len(values))
    starts = minutes[minute_rows] * MICROSECONDS_PER_MINUTE
    return AggregatedBatch(
        minutes=_reduce(minute_rows, video_index, type_ids, values, starts_us=starts),
        totals=_reduce(total_rows, video_index, type_ids, values, starts_us=np.empty(0, dtype=np.int64)),
        order=order,
    )


def build_ledger(columns: Columns, verdict: Verdict) -> list[LedgerLine]:
    """One line for each hour of `occurred_us` in the batch."""
    hours = columns.occurred_us // MICROSECONDS_PER_HOUR
    digests = columns.id_digests()
    lines = []
    for hour in _find_distinct(hours):
        rows = hours == hour
        counted = rows & verdict.new
        lines.append(
            LedgerLine(
                hour_us=hour * MICROSECONDS_PER_HOUR,
                counted=int(counted.sum()),
                duplicate=int((rows & verdict.duplicate).sum()),
                conflict=int((rows & verdict.conflict).sum()),
                digest=int(digests[counted].sum(dtype=np.uint64)),  # wraps at 2^64 by intent
            )
        )
    return lines


def _find_distinct(values: NDArray[Any]) -> list[int]:
    """The distinct values, ascending. Most batches have one hour, which two passes find out."""
    if len(values) and values.min() == values.max():
        return [int(values[0])]
    found: list[int] = np.unique(values).tolist()
    return found


def find_types(columns: Columns) -> list[int]:
    """The event types that occur, ascending."""
    found: list[int] = np.flatnonzero(np.bincount(columns.type_ids)).tolist()
    return found


def _find_first(same_as_previous: NDArray[np.bool_], count: int) -> NDArray[np.intp]:
    if count == 0:
        return np.empty(0, dtype=np.intp)
    return np.concatenate([[0], np.flatnonzero(~same_as_previous) + 1])


def _reduce(
    rows: NDArray[np.intp],
    video_index: NDArray[Any],
    type_ids: NDArray[Any],
    values: NDArray[np.int64],
    *,
    starts_us: NDArray[np.int64],
) -> Aggregates:
    """Aggregates each run of `values` that starts at one of `rows` to one row."""
    if not len(rows):
        none = np.empty(0, dtype=np.int64)
        return Aggregates(video_index[rows], type_ids[rows], starts_us, none, none, none, none)
    sums = np.add.reduceat(values, rows)
    return Aggregates(
        video_index=video_index[rows],
        type_ids=type_ids[rows],
        starts_us=starts_us,
        counts=np.diff(np.append(rows, len(values))).astype(np.int64),
        sums=sums,
        mins=np.minimum.reduceat(values, rows),
        maxs=np.maximum.reduceat(values, rows),
        has_overflowed=_has_overflowed(values, rows, sums),
    )


def _has_overflowed(values: NDArray[np.int64], rows: NDArray[np.intp], sums: NDArray[np.int64]) -> bool:
    """Whether a sum exceeded 64 bits, which numpy does not report: the sum is then off by a multiple of 2^64."""
    largest = max(abs(int(values.min())), abs(int(values.max())))
    if largest * len(values) < 2**63:
        return False
    drift = np.add.reduceat(values.astype(np.float64), rows) - sums.astype(np.float64)
    return bool((np.abs(drift) > 2.0**62).any())
