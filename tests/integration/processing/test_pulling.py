"""Pull processes at work on real shards, with their threads: counting, failing, stopping, answering readers."""

import logging
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from clusterproxy.errors import NotFreshEnough
from clusterproxy.plan import Consistency
from runtime.metrics import REGISTRY
from tests.integration.processing.counted import PARTITION, count_events
from tests.integration.processing.draining import make_drainer
from tests.unit.processing.builders import uuid4_of
from tests.waiting import wait_until
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.errors import EventLogUnavailable
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.processing.ownership import WorkerId
from viewcounter.processing.settings import PullSettings
from viewcounter.processing.shard_puller import PullTools, ShardPuller
from viewcounter.queries.freshness import ReadOptions, find_requirement
from viewcounter.storage.partitions import READ_STATES

SETTINGS = PullSettings(renew_seconds=0.05, lease_seconds=30.0, backoff_first_seconds=0.05, backoff_max_seconds=0.05)
STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)


@contextmanager
def pulling(cluster, log, *, settings=SETTINGS, shards=None):
    """One pull process on some shards, all by default; stopped gracefully when the block ends."""
    worker = WorkerId(uuid4().hex, STARTED_AT)
    tools = PullTools(cluster, log, settings, lambda: make_drainer(cluster, log, flush_max_events=200), lambda _: None)
    pullers = [ShardPuller(shard, worker=worker, tools=tools) for shard in shards or cluster.topology.shards]
    for puller in pullers:
        puller.start()
    try:
        yield pullers
    finally:
        for puller in pullers:
            puller.stop_draining(timeout_seconds=30)
            puller.release(timeout_seconds=30)


def select(cluster, statement, *parameters, partition=PARTITION):
    with cluster.transaction(partition) as connection:
        return connection.execute(statement, parameters).fetchall()


def read_position(cluster, partition):
    [row] = select(cluster, "SELECT position FROM partition_state WHERE partition = %s", partition, partition=partition)
    return row["position"]


def wait_until_applied(cluster, log, partition=PARTITION):
    end = str(log.barrier([partition])[partition])
    wait_until(lambda: read_position(cluster, partition) == end, what=f"partition {partition} to reach {end}")


def append(log, partition, *numbers):
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    events = [AcceptedEvent(uuid4_of(number).bytes, f"video{partition}", 1, now_us, 1000) for number in numbers]
    log.append({partition: pack_entry(events, received_us=now_us)})


def test_events_are_counted_once_while_processes_come_and_stop(clean_cluster):
    counted = count_events(clean_cluster)
    with pulling(clean_cluster, counted.log):
        counted.add(seed=1, count=300)
        wait_until_applied(clean_cluster, counted.log)
        with pulling(clean_cluster, counted.log):
            counted.add(seed=2, count=300)
            wait_until_applied(clean_cluster, counted.log)
    counted.add(seed=3, count=300)
    with pulling(clean_cluster, counted.log):
        wait_until_applied(clean_cluster, counted.log)
    assert counted.read("event_total") == counted.expect(seconds=None)


def test_a_process_that_has_stopped_has_neither_lease_nor_thread(clean_cluster):
    with pulling(clean_cluster, MemoryEventLog()) as pullers:
        wait_until(lambda: all(puller.describe().partitions for puller in pullers), what="all partitions to be claimed")
    assert select(clean_cluster, "SELECT id FROM worker") == []
    names = [thread.name for thread in threading.enumerate()]
    assert [name for name in names if name.startswith(("lease on", "drains of", "drain-alone", "watermarks of"))] == []


def test_a_partition_whose_entries_were_trimmed_stops_no_other_of_its_shard(clean_cluster, caplog):
    log = MemoryEventLog()
    trimmed, other = clean_cluster.topology.get_partitions_of(clean_cluster.topology.shards[0].id)[:2]
    append(log, trimmed, 1)
    log.trim(trimmed, through=log.barrier([trimmed])[trimmed])
    append(log, trimmed, 2)
    with caplog.at_level(logging.WARNING), pulling(clean_cluster, log):
        for number in range(3, 6):
            append(log, other, number)
            wait_until_applied(clean_cluster, log, other)
    assert read_position(clean_cluster, trimmed) == "0-0"
    lines = [
        r.message for r in caplog.records if r.message.startswith(f"partition {trimmed} stopped, its shard is older")
    ]
    assert len(lines) == 1


def test_a_process_counts_on_after_its_shard_was_frozen_for_longer_than_the_lease(clean_cluster, servers):
    log, shard = MemoryEventLog(), clean_cluster.topology.shards[0]
    partition = clean_cluster.topology.get_partitions_of(shard.id)[0]
    settings = PullSettings(renew_seconds=0.05, lease_seconds=0.5, backoff_max_seconds=0.1)
    with pulling(clean_cluster, log, settings=settings, shards=[shard]) as [puller]:
        append(log, partition, 1)
        wait_until_applied(clean_cluster, log, partition)
        primary = servers.database(shard.primary.name)
        primary.pause()
        try:
            wait_until(lambda: not puller.describe().partitions, what="the lease to end")
        finally:
            primary.resume()
        append(log, partition, 2)
        wait_until(lambda: puller.describe().partitions, what="the lease to be taken again")
        wait_until_applied(clean_cluster, log, partition)


def test_a_watermark_of_the_future_is_put_right_without_an_event(clean_cluster):
    with pulling(clean_cluster, MemoryEventLog()):
        select(clean_cluster, "UPDATE partition_state SET watermark = now() + interval '10 days' RETURNING 1")
        statement = "SELECT max(watermark) <= now() AS is_past FROM partition_state"
        wait_until(lambda: select(clean_cluster, statement)[0]["is_past"], what="the watermarks to be put right")


class FailingLog(MemoryEventLog):
    is_away = False

    def read(self, *arguments, **options):
        self._check()
        return super().read(*arguments, **options)

    def read_many(self, *arguments, **options):
        self._check()
        return super().read_many(*arguments, **options)

    def wait(self, *arguments, **options):
        self._check()
        return super().wait(*arguments, **options)

    def barrier(self, *arguments, **options):
        self._check()
        return super().barrier(*arguments, **options)

    def _check(self):
        if self.is_away:
            raise EventLogUnavailable("it is away")


def count_failures(shard):
    return REGISTRY.get_sample_value("viewcounter_drain_failures_total", {"shard": shard.name}) or 0.0


def test_a_log_that_fails_and_comes_back_is_one_line_each_for_a_shard(clean_cluster, caplog):
    log, shard = FailingLog(), clean_cluster.topology.shards[0]
    failures = count_failures(shard)
    partition = clean_cluster.topology.get_partitions_of(shard.id)[0]
    with caplog.at_level(logging.WARNING), pulling(clean_cluster, log, shards=[shard]) as [puller]:
        append(log, partition, 1)
        wait_until_applied(clean_cluster, log, partition)
        log.is_away = True
        wait_until(lambda: puller.describe().trouble, what="the failure to be noticed")
        wait_until(lambda: count_failures(shard) >= failures + 3, what="three attempts to fail")
        log.is_away = False
        append(log, partition, 2)
        wait_until_applied(clean_cluster, log, partition)
        wait_until(lambda: not puller.describe().trouble, what="the end of the failure to be noticed")
    lines = [r.message for r in caplog.records if "partitions on" in r.message and "watermarks" not in r.message]
    assert lines[0] == f"events of partitions on {shard.name} wait in the log: it is away"
    assert lines[1].startswith(f"events of partitions on {shard.name} are counted again (failed attempts: ")
    assert len(lines) == 2


def test_answers_are_complete_past_the_last_event_soon_after_it(clean_cluster):
    log = MemoryEventLog()
    settings = PullSettings(renew_seconds=0.05, lease_seconds=30.0, idle_watermark_seconds=10**6)
    select(clean_cluster, "UPDATE partition_state SET watermark = now(), updated_at = now() RETURNING 1")
    with pulling(clean_cluster, log, settings=settings):
        append(log, PARTITION, 1)
        wait_until_applied(clean_cluster, log)
        sent_at = datetime.now(UTC)
        statement = "SELECT watermark > %s AS is_complete FROM partition_state WHERE partition = %s"
        wait_until(lambda: select(clean_cluster, statement, sent_at, PARTITION)[0]["is_complete"])


@pytest.mark.parametrize("is_pulled", [True, False])
def test_a_reader_that_waits_gets_a_newer_watermark_from_the_owner_alone(clean_cluster, is_pulled):
    settings = PullSettings(renew_seconds=0.05, lease_seconds=30.0, idle_watermark_seconds=10**6)
    select(
        clean_cluster,
        "UPDATE partition_state SET watermark = now() - interval '1 hour', updated_at = now() - interval '2 hours'"
        " RETURNING 1",
    )
    shards = [s for s in clean_cluster.topology.shards if is_pulled == (PARTITION in get_partitions(clean_cluster, s))]
    with pulling(clean_cluster, MemoryEventLog(), settings=settings, shards=shards) as pullers:
        wait_until(lambda: all(puller.describe().partitions for puller in pullers), what="all partitions to be claimed")
        requirement = find_requirement(ReadOptions(max_staleness_seconds=60.0), partitions=[PARTITION])

        def read():
            return clean_cluster.read(
                PARTITION,
                READ_STATES,
                {"partitions": [PARTITION]},
                consistency=Consistency.STRONG,
                requirement=requirement,
            )

        if is_pulled:
            [row] = read().rows
            assert (datetime.now(UTC) - row["watermark"]).total_seconds() < 60
        else:
            with pytest.raises(NotFreshEnough):
                read()
    [row] = select(clean_cluster, "SELECT count(*) AS n FROM watermark_request WHERE partition = %s", PARTITION)
    assert row["n"] == 1


def get_partitions(cluster, shard):
    return cluster.topology.get_partitions_of(shard.id)
