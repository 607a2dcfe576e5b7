"""One flush for several partitions of a shard: each wholly or not at all, and none waits for another's lock."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from runtime.backoff import Backoff
from tests.integration.processing.draining import DEAD_LETTERS, make_drainer
from tests.pace import limit
from tests.unit.processing.builders import MemoryIds, uuid4_of
from tests.waiting import wait_until
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.interface import Entry, Position
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.processing.batch import decode_entries, prepare_batch
from viewcounter.processing.drain import MAX_SKIPS
from viewcounter.processing.follow import ShardFollower
from viewcounter.processing.isolation import PoisonIsolator
from viewcounter.processing.settings import IsolationSettings
from viewcounter.storage import flush_content
from viewcounter.storage.flush import apply_flush, apply_joint_flush
from viewcounter.storage.partitions import PartitionState

NOW = datetime.now(UTC).replace(second=30, microsecond=0)
NOW_US = int(NOW.timestamp()) * 1_000_000
TABLES = ("raw_event", "event_ids", "event_minute", "event_total", "ledger", "event_conflict", "rollup_dirty", "video")
WAIT_SECONDS = limit(15.0)


@pytest.fixture
def partitions(clean_cluster):
    """Those of one shard: partition 3 and two others."""
    found = clean_cluster.topology.get_partitions_of(clean_cluster.topology.get_shard_of(3).id)
    return sorted([3, *[p for p in found if p != 3][:2]])


def event(number, video, *, type_id=1):
    return AcceptedEvent(uuid4_of(number).bytes, video, type_id, NOW_US, 1000, 0)


def build_batch(cluster, partition, *events, old="0-0", new="5-0"):
    entry = Entry(Position.parse(new), pack_entry(events, received_us=NOW_US))
    return prepare_batch(
        decode_entries([entry]),
        partition=partition,
        state=PartitionState(epoch=1, position=old, watermark=NOW, state="owned"),
        event_types={t.id: t for t in cluster.topology.event_types},
        known=MemoryIds(),
        max_conflicts=2,
        complete_at=NOW - timedelta(minutes=1),
    ).batch


def build_batches(cluster, partitions, **options):
    """Of each partition: a video of its own twice, an event sent twice, and another content of it."""
    return [
        build_batch(
            cluster,
            partition,
            event(10 * partition, f"video {partition}"),
            event(10 * partition + 1, f"video {partition}", type_id=6),
            event(10 * partition + 1, f"video {partition}", type_id=6),
            event(10 * partition + 1, f"other {partition}"),
            **options,
        )
        for partition in partitions
    ]


def flush(connection, batches):
    with connection.transaction():
        return apply_joint_flush(connection, batches, limits=DEAD_LETTERS)


def dump(connection):
    """All rows without what the database numbers or dates by itself."""
    rows = {}
    for table in TABLES:
        found = connection.execute(f"SELECT * FROM {table} ORDER BY {table}::text").fetchall()  # noqa: S608
        rows[table] = sorted(
            str({k: v for k, v in row.items() if k not in ("id", "created_at", "stored_at")}) for row in found
        )
    states = "SELECT partition, position, watermark, window_read FROM partition_state ORDER BY partition"
    return rows | {"states": connection.execute(states).fetchall()}


def clear(connection):
    for table in (*TABLES[:-1], "video"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608
    connection.execute("UPDATE partition_state SET position = DEFAULT, watermark = DEFAULT, window_read = DEFAULT")


def test_a_joint_flush_writes_what_a_flush_of_each_partition_writes(clean_cluster, shard_connection, partitions):
    shard_connection.execute("UPDATE partition_state SET rolled_through = now() + interval '3 days'")
    for batch in build_batches(clean_cluster, partitions):
        with shard_connection.transaction():
            apply_flush(shard_connection, batch, limits=DEAD_LETTERS)
    each = dump(shard_connection)
    clear(shard_connection)
    flushed = flush(shard_connection, build_batches(clean_cluster, reversed(partitions)))
    assert flushed.partitions == set(partitions)
    assert flushed.new_videos == {f"video {partition}": partition for partition in partitions}
    assert dump(shard_connection) == each
    assert all(each[table] for table in TABLES)


def test_a_partition_that_is_locked_is_left_out_and_the_others_are_written(clean_cluster, shard_connection, partitions):
    locked, *others = partitions
    with clean_cluster.transaction(3) as holder:
        holder.execute("SELECT FROM partition_state WHERE partition = %s FOR SHARE", [locked])
        assert flush(shard_connection, build_batches(clean_cluster, partitions)).partitions == set(others)
    assert flush(shard_connection, build_batches(clean_cluster, partitions)).partitions == {locked}
    counts = shard_connection.execute("SELECT partition, sum(count)::int AS n FROM event_total GROUP BY 1 ORDER BY 1")
    assert [(row["partition"], row["n"]) for row in counts] == [(partition, 2) for partition in partitions]


@pytest.mark.parametrize("change", ["position = '4-0'", "epoch = 2", "state = 'held'", "admits_since = now() + '1 h'"])
def test_a_partition_that_is_not_as_expected_is_left_out(clean_cluster, shard_connection, partitions, change):
    moved, *others = partitions
    shard_connection.execute(f"UPDATE partition_state SET {change} WHERE partition = %s", [moved])  # noqa: S608
    assert flush(shard_connection, build_batches(clean_cluster, partitions)).partitions == set(others)
    written = shard_connection.execute("SELECT DISTINCT partition FROM raw_event ORDER BY 1").fetchall()
    assert [row["partition"] for row in written] == others


def test_a_batch_with_dead_letters_is_refused_in_a_joint_flush(clean_cluster, shard_connection, partitions):
    batches = [*build_batches(clean_cluster, partitions[1:]), build_batch(clean_cluster, 3, event(1, "a", type_id=99))]
    before = dump(shard_connection)
    with pytest.raises(ValueError, match="a flush of its own"):
        flush(shard_connection, batches)
    assert dump(shard_connection) == before


class Crash(Exception):
    pass


@pytest.mark.parametrize("place", range(len(flush_content.STEPS) + 1))
def test_a_crash_between_any_two_statements_leaves_nothing_of_any_partition(
    clean_cluster, shard_connection, partitions, monkeypatch, place
):
    before, batches = dump(shard_connection), build_batches(clean_cluster, partitions)

    def crash(*_):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(flush_content, "STEPS", [*flush_content.STEPS[:place], crash, *flush_content.STEPS[place:]])
        with pytest.raises(Crash):
            flush(shard_connection, batches)
    assert dump(shard_connection) == before


def append(log, partitions, *, start=0, count=20):
    """Events of a video of each partition, one an entry."""
    for number in range(start, start + count):
        log.append({p: pack_entry([event(1000 * p + number, f"video {p}")], received_us=NOW_US) for p in partitions})


def read_counts(cluster):
    with cluster.transaction(3) as connection:
        rows = connection.execute("SELECT partition, sum(count)::int AS n FROM event_total GROUP BY 1 ORDER BY 1")
        return {row["partition"]: row["n"] for row in rows}


def test_a_drain_of_several_partitions_counts_each_event_once(clean_cluster, partitions):
    log = MemoryEventLog()
    append(log, partitions)
    report = make_drainer(clean_cluster, log, read_entries=7, flush_max_events=13).drain(partitions)
    assert (report.counted, report.caught_up) == (20 * len(partitions), True)
    assert report.flush_count == 4  # of 18 events each, six of each partition
    assert report.positions == {p: str(end) for p, end in log.barrier(partitions).items()}
    append(log, partitions, start=10)
    report = make_drainer(clean_cluster, log).drain(partitions)
    assert (report.counted, report.duplicate) == (10 * len(partitions), 10 * len(partitions))
    assert read_counts(clean_cluster) == dict.fromkeys(partitions, 30)


def test_an_event_that_the_shard_refuses_becomes_a_dead_letter_and_all_others_count(clean_cluster, partitions):
    log = MemoryEventLog()
    append(log, partitions)
    log.append({3: pack_entry([event(7, "bad\0video"), event(8, "video 3")], received_us=NOW_US)})
    report = make_isolating_drainer(clean_cluster, log).drain(partitions)
    assert (report.dead_letter_count, report.caught_up) == (1, True)
    assert read_counts(clean_cluster) == {p: 20 + (p == 3) for p in partitions}


def make_isolating_drainer(cluster, log):
    settings = IsolationSettings(max_seconds=20.0, max_trials=2000)
    poison = PoisonIsolator(cluster=cluster, settings=settings, limits=DEAD_LETTERS)
    return make_drainer(cluster, log, flush_max_events=1000, read_entries=100, poison=poison)


class Following:
    """A follower in a thread of its own, as a pull process runs it for a shard."""

    def __init__(self, cluster, log, partitions):
        self._is_over = threading.Event()
        together, alone = make_isolating_drainer(cluster, log), make_isolating_drainer(cluster, log)
        self.follower = ShardFollower(together=together, alone=alone, retry=Backoff(0.05, 0.1))
        self._thread = threading.Thread(target=self._run, args=[partitions])
        self.error = None

    def _run(self, partitions):
        try:
            self.follower.follow(partitions, is_over=self._is_over.is_set)
        except Exception as error:
            self.error = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._thread.join(WAIT_SECONDS)
        self.follower.close(timeout_seconds=WAIT_SECONDS)
        assert not self._thread.is_alive()
        assert self.error is None


def test_followed_partitions_are_counted_as_events_come(clean_cluster, partitions):
    log = MemoryEventLog()
    with Following(clean_cluster, log, partitions):
        for start in (0, 20, 40):
            append(log, partitions, start=start)
            wait_until(lambda start=start: read_counts(clean_cluster) == dict.fromkeys(partitions, start + 20))


def test_a_row_held_by_another_transaction_delays_no_other_partition(clean_cluster, partitions):
    log = MemoryEventLog()
    held, *others = partitions
    with Following(clean_cluster, log, partitions) as following:
        with clean_cluster.transaction(3, deadline_seconds=WAIT_SECONDS) as holder:
            holder.execute("SELECT FROM partition_state WHERE partition = %s FOR UPDATE", [held])
            for start in range(0, 20 * (MAX_SKIPS + 2), 20):
                append(log, partitions, start=start)
                wait_until(lambda start=start: read_counts(clean_cluster) == dict.fromkeys(others, start + 20))
            assert following.follower.apart == {held}
        wait_until(lambda: read_counts(clean_cluster) == dict.fromkeys(partitions, 20 * (MAX_SKIPS + 2)))
        wait_until(lambda: not following.follower.apart)


def test_a_stopped_partition_stays_apart_until_it_may_count_again(clean_cluster, partitions):
    log = MemoryEventLog()
    stopped, *others = partitions
    with clean_cluster.transaction(3) as connection:
        connection.execute("UPDATE partition_state SET state = 'stopped' WHERE partition = %s", [stopped])
    append(log, partitions)
    with Following(clean_cluster, log, partitions):
        wait_until(lambda: read_counts(clean_cluster) == dict.fromkeys(others, 20))
        with clean_cluster.transaction(3) as connection:
            connection.execute("UPDATE partition_state SET state = 'owned' WHERE partition = %s", [stopped])
        wait_until(lambda: read_counts(clean_cluster) == dict.fromkeys(partitions, 20))
