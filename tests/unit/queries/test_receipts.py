"""Verdicts about one event, from what a shard and the log know of its id."""

import uuid
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.errors import PositionTrimmed
from viewcounter.eventlog.interface import START, Position
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.events.columns import MICROSECONDS_PER_MINUTE, get_id_minutes
from viewcounter.queries.receipts import Evidence, ReceiptState, classify, find_id_minute, is_waiting
from viewcounter.storage.dead_letters import DeadLetterState

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
P10, P20, P30, P40 = (Position(n, 0) for n in (10, 20, 30, 40))
NEW, REPLAYED, DISCARDED = DeadLetterState.NEW, DeadLetterState.REPLAYED, DeadLetterState.DISCARDED


@pytest.mark.parametrize(
    ("evidence", "asked", "state"),
    [
        (Evidence(seen=P20), None, "unknown"),
        (Evidence(seen=P20), P30, "pending"),
        (Evidence(seen=P20), P20, "unknown"),
        (Evidence(seen=P20, has_raw=True, counted_at=P20), None, "applied"),
        (Evidence(seen=P20, has_raw=True, counted_at=P20), P10, "applied"),
        (Evidence(seen=P20, has_raw=True, counted_at=P20), P20, "applied"),
        (Evidence(seen=P30, has_raw=True, counted_at=P20), P30, "duplicate"),
        (Evidence(seen=P20, has_raw=True, counted_at=P20), P30, "pending"),
        (Evidence(seen=P30, counted_at=P20), None, "applied"),  # its raw event is no longer kept
        (Evidence(seen=P30, has_raw=True), P30, "applied"),  # its id is no longer kept
        (Evidence(seen=P30, has_raw=True, counted_at=P10, conflict_at=P20), None, "conflict"),
        (Evidence(seen=P30, has_raw=True, counted_at=P10, conflict_at=P20), P10, "applied"),
        (Evidence(seen=P30, has_raw=True, counted_at=P10, conflict_at=P20), P20, "conflict"),
        (Evidence(seen=P30, has_raw=True, counted_at=P10, conflict_at=P20), P30, "duplicate"),
        (Evidence(seen=P30, has_raw=True, counted_at=P10, conflict_at=P10), P10, "conflict"),
        (Evidence(seen=P30, counted_at=P10, conflict_at=P20), P30, "unknown"),  # counted for another video
        (Evidence(seen=P30, letter=NEW), None, "dead_letter"),
        (Evidence(seen=P30, letter=NEW), P40, "pending"),
        (Evidence(seen=P30, letter=DISCARDED), P30, "dead_letter"),
        (Evidence(seen=P30, letter=REPLAYED), None, "pending"),
        (Evidence(seen=P30, has_raw=True, counted_at=P30, letter=REPLAYED), None, "applied"),
    ],
)
def test_verdict(evidence: Evidence, asked: Position | None, state: str) -> None:
    assert classify(evidence, position=asked, waits_in_log=False) == state


def test_what_no_shard_knows_is_pending_while_the_log_has_it() -> None:
    assert classify(Evidence(seen=P20), position=None, waits_in_log=True) is ReceiptState.PENDING
    assert classify(Evidence(seen=P20, has_raw=True), position=None, waits_in_log=True) is ReceiptState.APPLIED


@pytest.mark.parametrize("version", [4, 7])
def test_an_id_is_looked_for_in_the_minute_under_which_flushes_keep_it(version: int) -> None:
    at = datetime(2026, 1, 31, 12, 34, 56, 789000, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    ms = round(at.timestamp() * 1000) + 3_600_000
    event_id = uuid.UUID(int=(ms << 80) | (version << 76) | (0b10 << 62) | 77)
    occurred_us = np.array([(at - EPOCH) // timedelta(microseconds=1)])
    kept = get_id_minutes(np.array([event_id.bytes], dtype="S16"), occurred_us)[0] * MICROSECONDS_PER_MINUTE
    found = find_id_minute(event_id, occurred_at=at)
    assert found is not None
    assert (found - EPOCH) // timedelta(microseconds=1) == kept


def test_the_minute_of_an_id_without_a_time_or_with_an_impossible_one_is_not_known() -> None:
    assert find_id_minute(uuid.uuid4(), occurred_at=None) is None
    assert find_id_minute(uuid.UUID(int=(2**48 - 1) << 80 | 7 << 76), occurred_at=None) is None


def test_the_log_is_searched_past_the_position_and_no_further_than_it_may() -> None:
    log = MemoryEventLog()
    ids = [uuid.uuid4() for _ in range(3)]
    positions = [
        log.append({0: pack_entry([AcceptedEvent(i.bytes, "video", 1, 0, 0)], received_us=0)}).positions[0] for i in ids
    ]

    def waits(event_id: uuid.UUID, after: Position, most: int = 10) -> bool:
        return is_waiting(log, 0, event_id, after=after, max_entries=most)

    assert [waits(i, START) for i in ids] == [True] * 3
    assert [waits(i, positions[1]) for i in ids] == [False, False, True]
    assert [waits(i, START, most=2) for i in ids] == [True, True, False]
    assert not waits(uuid.uuid4(), START)


def test_a_log_that_cannot_say_leaves_it_open() -> None:
    class Trimmed(MemoryEventLog):
        def read(self, *_: object, **__: object) -> list:
            raise PositionTrimmed("gone")

    assert not is_waiting(Trimmed(), 0, uuid.uuid4(), after=START, max_entries=1)
