"""Drains on real shards, with the in-memory log: exact however they are cut, doubled or interrupted."""

import random
import threading
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from clusterproxy.plan import Consistency
from shardproxy.errors import Conflict
from shardproxy.query import Query, QueryClass
from tests.integration.processing.draining import make_drainer
from tests.integration.processing.pulling import advance_idle
from tests.pace import limit
from tests.unit.processing.builders import MINUTE_US, uuid4_of
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.errors import PositionTrimmed
from viewcounter.eventlog.interface import Position
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.events.partition import get_partition
from viewcounter.processing import flush_writer
from viewcounter.processing.errors import PartitionNotOwned
from viewcounter.processing.known_ids import IdCache
from viewcounter.processing.settings import PieceLimits
from viewcounter.storage import flush_content, partitions
from viewcounter.storage.errors import SchemaVersionMismatch

NOW_US = int(datetime.now(UTC).timestamp() * 1_000_000)
VIDEO = "XpVt6Z1Gjjo"
WAIT_SECONDS = limit(15.0)


def partition_of(cluster, video):
    return get_partition(video, partition_count=cluster.topology.partition_count)


def append_random(cluster, log, *, seed, event_count=600):
    """Entries with repeats and conflicts; returns what must be counted: first content of each (id minute, id)."""
    rng = random.Random(seed)
    partition = partition_of(cluster, VIDEO)
    first = {}
    for _ in range(event_count // 10):
        events = []
        for _ in range(rng.randint(1, 19)):
            number, minutes_ago = rng.randint(0, event_count // 3), rng.randint(0, 4)
            occurred_us = NOW_US - minutes_ago * MINUTE_US
            content = (VIDEO, rng.choice([1, 6]), occurred_us, rng.choice([1000, 2500]))
            event = AcceptedEvent(uuid4_of(number).bytes, *content)
            first.setdefault((occurred_us // MINUTE_US, number), content)
            events.append(event)
        log.append({partition: pack_entry(events, received_us=NOW_US)})
    return Counter(content[1] for content in first.values()), Counter(), first


def read_totals(cluster):
    query = Query(
        "totals", "SELECT event_type_id, count, sum FROM event_total WHERE partition = %(p)s", QueryClass.POINT
    )
    partition = partition_of(cluster, VIDEO)
    rows = cluster.read(partition, query, {"p": partition}, consistency=Consistency.STRONG).rows
    return {row["event_type_id"]: (row["count"], row["sum"]) for row in rows}


def expected_totals(first):
    totals = {}
    for _, type_id, _, value in first.values():
        count, value_sum = totals.get(type_id, (0, 0))
        totals[type_id] = (count + 1, value_sum + value)
    return totals


@pytest.mark.parametrize("seed", [1, 2])
def test_totals_equal_the_distinct_events_however_small_flushes_and_id_cache_are(clean_cluster, seed):
    log = MemoryEventLog()
    *_, first = append_random(clean_cluster, log, seed=seed)
    report = make_drainer(clean_cluster, log).drain([partition_of(clean_cluster, VIDEO)])
    assert report.caught_up
    assert report.counted == len(first)
    assert read_totals(clean_cluster) == expected_totals(first)


def test_drains_beside_each_other_count_every_event_once(clean_cluster):
    log = MemoryEventLog()
    *_, first = append_random(clean_cluster, log, seed=3)
    partition = partition_of(clean_cluster, VIDEO)

    def drain(_number):
        with suppress(Conflict):  # on a slow machine it waits too long for the row: beat would send it again
            make_drainer(clean_cluster, log).drain([partition])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(drain, range(4)))
    make_drainer(clean_cluster, log).drain([partition])
    assert read_totals(clean_cluster) == expected_totals(first)


def read_id_pieces(cluster):
    """By minute: the parts of each piece, and how many ids are in it."""
    partition = partition_of(cluster, VIDEO)
    query = Query(
        "pieces",
        "SELECT extract(epoch FROM minute)::bigint / 60 AS minute, coalesce(part_sizes, '{}') AS sizes,"
        " octet_length(ids) / 16 AS id_count FROM event_ids WHERE partition = %(p)s",
        QueryClass.POINT,
    )
    pieces = defaultdict(list)
    for row in cluster.read(partition, query, {"p": partition}, consistency=Consistency.STRONG).rows:
        pieces[int(row["minute"])].append((row["sizes"], row["id_count"]))
    return pieces


def test_ids_of_a_minute_that_many_flushes_meet_stay_in_few_pieces(clean_cluster):
    log, limits = MemoryEventLog(), PieceLimits(max_pieces=4, small_ids=12)
    partition, minutes = partition_of(clean_cluster, VIDEO), range(3)
    workers = [make_drainer(clean_cluster, log, id_pieces=limits, ids=IdCache(max_bytes=10**6)) for _ in range(2)]
    rng, first = random.Random(5), {}
    for number in range(40):
        events = []
        for minutes_ago in minutes:
            occurred_us = NOW_US - minutes_ago * MINUTE_US
            for known in (number, rng.randint(0, number)):
                first.setdefault((occurred_us // MINUTE_US, known), (VIDEO, 1, occurred_us, 1000))
                events.append(AcceptedEvent(uuid4_of(known).bytes, VIDEO, 1, occurred_us, 1000))
        log.append({partition: pack_entry(events, received_us=NOW_US)})
        workers[number % 2].drain([partition])
    assert read_totals(clean_cluster) == expected_totals(first) == {1: (120, 120_000)}
    for pieces in read_id_pieces(clean_cluster).values():
        assert len(pieces) <= 40 / limits.small_ids + limits.max_pieces + 2
        assert sum(id_count for _, id_count in pieces) == 40
        assert max(id_count for _, id_count in pieces) >= limits.small_ids
        assert all(sum(sizes) == id_count for sizes, id_count in pieces if sizes)


def test_a_drain_that_dies_is_continued_by_the_next_one(clean_cluster, monkeypatch):
    log, ids = MemoryEventLog(), IdCache(max_bytes=10**6)
    *_, first = append_random(clean_cluster, log, seed=4)
    partition = partition_of(clean_cluster, VIDEO)
    calls = iter([None, None, RuntimeError("killed")])

    def die_at_the_third_flush(*_):
        if (error := next(calls, None)) is not None:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(flush_content, "STEPS", [*flush_content.STEPS, die_at_the_third_flush])
        with pytest.raises(RuntimeError):
            make_drainer(clean_cluster, log, ids=ids).drain([partition])
    assert ids.size_bytes == 0  # what it judged ahead is not known to be on the shard
    assert 0 < sum(count for count, _ in read_totals(clean_cluster).values()) < len(first)
    make_drainer(clean_cluster, log, ids=ids).drain([partition])
    assert read_totals(clean_cluster) == expected_totals(first)


class CountingLog(MemoryEventLog):
    """Says how many entries have been read, and through which position."""

    def __init__(self):
        super().__init__()
        self.entries_read = 0

    def read_many(self, after, *, max_entries):
        found = super().read_many(after, max_entries=max_entries)
        self.entries_read += sum(len(entries) for entries in found.values())
        return found


class Progress:
    """Tells when a drain has been waiting for its shard for a while."""

    def __init__(self, *, calls):
        self.is_waiting = threading.Event()
        self._left = calls

    def __call__(self):
        self._left -= 1
        if self._left == 0:
            self.is_waiting.set()


def test_a_drain_stops_reading_while_its_shard_does_not_take_what_it_has_read(clean_cluster, monkeypatch):
    log, entry_count, events_a_flush, queued = CountingLog(), 40, 10, 2
    partition = partition_of(clean_cluster, VIDEO)
    for entry in range(entry_count):
        ids = range(entry * events_a_flush, (entry + 1) * events_a_flush)
        events = [AcceptedEvent(uuid4_of(number).bytes, VIDEO, 1, NOW_US, 1000) for number in ids]
        log.append({partition: pack_entry(events, received_us=NOW_US)})
    opened, progress = threading.Event(), Progress(calls=50)
    monkeypatch.setattr(flush_writer, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(flush_content, "STEPS", [lambda *_: opened.wait(WAIT_SECONDS), *flush_content.STEPS])
    drainer = make_drainer(clean_cluster, log, flush_max_events=events_a_flush, read_entries=1, on_progress=progress)
    with ThreadPoolExecutor(1) as pool:
        drain = pool.submit(drainer.drain, [partition])
        assert progress.is_waiting.wait(WAIT_SECONDS)
        assert log.entries_read == 1 + queued + 1  # being written, waiting, and judged with no place to wait
        opened.set()
        report = drain.result(WAIT_SECONDS)
    assert (report.counted, report.flush_count) == (entry_count * events_a_flush, entry_count)
    assert read_totals(clean_cluster) == {1: (400, 400_000)}


def test_a_held_partition_is_not_drained_and_its_events_wait(clean_cluster):
    log = MemoryEventLog()
    append_random(clean_cluster, log, seed=5)
    partition = partition_of(clean_cluster, VIDEO)
    with clean_cluster.transaction(partition) as connection:
        connection.execute("UPDATE partition_state SET state = 'held' WHERE partition = %s", [partition])
    with pytest.raises(PartitionNotOwned):
        make_drainer(clean_cluster, log).drain([partition])
    assert read_totals(clean_cluster) == {}


def test_a_drain_stops_rather_than_skip_entries_that_were_trimmed_away(clean_cluster):
    log = MemoryEventLog()
    append_random(clean_cluster, log, seed=6)
    partition = partition_of(clean_cluster, VIDEO)
    log.trim(partition, through=log.read_tails([partition]).positions[partition])
    with pytest.raises(PositionTrimmed):
        make_drainer(clean_cluster, log).drain([partition])
    assert read_totals(clean_cluster) == {}


def test_a_shard_with_another_schema_version_is_not_drained(clean_cluster, monkeypatch):
    log = MemoryEventLog()
    append_random(clean_cluster, log, seed=8)
    monkeypatch.setattr(partitions, "EXPECTED_SCHEMA_VERSION", "0099_from_the_future")
    with pytest.raises(SchemaVersionMismatch, match=r"has schema 0009_lost_ranges.*0099_from_the_future"):
        make_drainer(clean_cluster, log).drain([partition_of(clean_cluster, VIDEO)])
    assert read_totals(clean_cluster) == {}


def test_partitions_at_the_end_of_the_log_alone_are_complete_until_the_barrier(clean_cluster):
    log = MemoryEventLog()
    append_random(clean_cluster, log, seed=7, event_count=20)
    partition = partition_of(clean_cluster, VIDEO)
    everything = clean_cluster.topology.partition_count
    assert advance_idle(clean_cluster, log) == everything - 1
    make_drainer(clean_cluster, log).drain([partition])
    noted_at = datetime.now(UTC)
    assert advance_idle(clean_cluster, log, now=noted_at) == everything
    with clean_cluster.transaction(partition) as connection:
        [row] = connection.execute(
            "SELECT watermark, position FROM partition_state WHERE partition = %s", [partition]
        ).fetchall()
    assert row["watermark"] == noted_at
    assert Position.parse(row["position"]) == log.barrier([partition])[partition]


def test_a_clock_that_is_ahead_advances_no_watermark_past_that_of_the_shard(clean_cluster):
    advance_idle(clean_cluster, MemoryEventLog(), now=datetime.now(UTC) + timedelta(days=10))
    for shard in clean_cluster.topology.shards:
        with clean_cluster.shard_transaction(shard.id) as connection:
            [row] = connection.execute("SELECT max(watermark) <= now() AS is_past FROM partition_state").fetchall()
        assert row["is_past"]
