"""Work of other processes on a partition that is being copied, has arrived, or has left."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from clusterproxy.plan import Consistency
from tests.integration.processing.counted import HOUR, PARTITION, count_events
from tests.integration.processing.poisoned import NOW_US, event, get_rules, make_drainer
from tests.integration.processing.pulling import find_claimed
from tests.waiting import wait_until, wait_while
from viewcounter.config import get_config
from viewcounter.deadletters.replay import DeadLetterId, Result, discard_dead_letters, replay_dead_letters
from viewcounter.eventlog.codec import pack_entry
from viewcounter.eventlog.interface import Position
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.maintenance.models import RecountJob
from viewcounter.maintenance.recount_jobs import create_partition_recount, list_runnable, run_recount
from viewcounter.maintenance.retention import retain_partition
from viewcounter.maintenance.rollup import find_partitions_to_roll, roll_partition
from viewcounter.maintenance.settings import RollupSettings
from viewcounter.processing.errors import PartitionNotOwned
from viewcounter.processing.trimming import trim_log_everywhere
from viewcounter.queries.counts import get_counts
from viewcounter.queries.errors import PartitionElsewhere
from viewcounter.queries.functions import Function
from viewcounter.queries.ranges import Period
from viewcounter.queries.top import TopQuery, get_top
from viewcounter.storage.errors import PartitionBeingMoved
from viewcounter.storage.partitions import READ_STATES

HELD = "UPDATE partition_state SET maintenance_held_until = now() + interval '1 minute' WHERE partition = %s"
EXPIRED = "UPDATE partition_state SET maintenance_held_until = now() - interval '1 second' WHERE partition = %s"
SET_STATE = "UPDATE partition_state SET state = %s WHERE partition = %s"
ROLL = RollupSettings(grace_seconds=0.0, budget_seconds=30.0, marks_max=1000)


@pytest.fixture
def counted(clean_cluster):
    return count_events(clean_cluster)


def test_rollups_wait_while_it_is_copied_and_go_on_when_its_mover_is_gone(counted):
    counted.execute(HELD, PARTITION)
    assert PARTITION not in find_partitions_to_roll(counted.cluster, grace_seconds=0.0)
    with pytest.raises(PartitionBeingMoved):
        roll_partition(counted.cluster, PARTITION, settings=ROLL)
    assert counted.read("event_hour") == {}
    counted.execute(EXPIRED, PARTITION)
    assert PARTITION in find_partitions_to_roll(counted.cluster, grace_seconds=0.0)
    assert roll_partition(counted.cluster, PARTITION, settings=ROLL).hour_count > 0


def test_retention_waits(counted):
    counted.execute(HELD, PARTITION)
    with pytest.raises(PartitionBeingMoved):
        retain_partition(counted.cluster, PARTITION, policy=get_config().retention)
    counted.assert_exact()


def test_a_recount_waits_rather_than_fail(counted):
    RecountJob.objects.all().delete()
    counted.execute("DELETE FROM event_minute WHERE partition = %s", PARTITION)
    counted.execute(HELD, PARTITION)
    job = create_partition_recount(PARTITION, apply=True, actor="test")
    with pytest.raises(PartitionBeingMoved):
        run_recount(counted.cluster, job.pk, settings=get_config().recount, budget_seconds=None)
    job.refresh_from_db()
    assert (job.state, job.error) == ("running", f"waits: partition {PARTITION} is being moved")
    assert counted.read("event_minute") == {}
    assert list_runnable(now=datetime.now(UTC)) == [job.pk]
    counted.execute(EXPIRED, PARTITION)
    run_recount(counted.cluster, job.pk, settings=get_config().recount, budget_seconds=None)
    job.refresh_from_db()
    assert job.state == "done"
    counted.assert_exact()


def test_dead_letters_are_neither_replayed_nor_discarded(clean_cluster):
    log = MemoryEventLog()
    entry = pack_entry([event(1), event(2, type_id=999)], received_us=NOW_US)
    log.append({PARTITION: entry})
    make_drainer(clean_cluster, log).drain([PARTITION])
    shard = clean_cluster.topology.get_shard_of(PARTITION)
    with clean_cluster.shard_transaction(shard.id) as connection:
        [row] = connection.execute("SELECT id FROM dead_letter").fetchall()
        connection.execute(HELD, (PARTITION,))
    letter = DeadLetterId(shard.id, row["id"])
    rules = get_rules(clean_cluster)
    [discarded] = discard_dead_letters(clean_cluster, [letter], actor="test")
    assert discarded.result is Result.UNAVAILABLE
    assert "being moved" in discarded.detail
    [unknown] = replay_dead_letters(clean_cluster, log, [letter], actor="test", rules=rules)
    assert unknown.result is Result.UNKNOWN_EVENT_TYPE
    with clean_cluster.shard_transaction(shard.id) as connection:
        connection.execute("UPDATE dead_letter SET event_type_id = 1")
    [replayed] = replay_dead_letters(clean_cluster, log, [letter], actor="test", rules=rules)
    assert replayed.result is Result.UNAVAILABLE
    assert len(log.read(PARTITION, after=Position(0, 0), max_entries=10)) == 1


def test_a_partition_that_is_coming_or_gone_is_read_nowhere(counted):
    cluster, now = counted.cluster, datetime.now(UTC)
    question = TopQuery("view", Function.COUNT, Period(None, None), limit=10)
    ranged = TopQuery("view", Function.COUNT, Period(counted.first_hour, counted.first_hour + 4 * HOUR), limit=10)
    for state in ("incoming", "moved"):
        counted.execute(SET_STATE, state, PARTITION)
        wait_for_replicas(counted)
        with pytest.raises(PartitionElsewhere):
            get_counts(cluster, video_id=counted.videos[0], now=now)
        for asked in (question, ranged):
            answer = get_top(cluster, asked, max_limit=10, now=now)
            assert answer.items == ()
            assert answer.meta.missing == (cluster.topology.get_shard_of(PARTITION).name,)
    counted.execute(SET_STATE, "held", PARTITION)
    wait_for_replicas(counted)
    assert len(get_top(cluster, question, max_limit=10, now=now).items) == len(counted.videos)


def test_a_partition_that_is_not_here_takes_no_place_in_the_list_of_those_that_are(counted):
    """Lists are cut to their limit on the shard: invisible rows must not push others out."""
    shard = counted.cluster.topology.get_shard_of(PARTITION)
    other = next(p for p in counted.cluster.topology.get_partitions_of(shard.id) if p != PARTITION)
    counted.execute("INSERT INTO video (video_id, partition) VALUES ('theirs', %s)", other)
    counted.execute("INSERT INTO event_total VALUES (%s, 'theirs', 1, 1000000, 1, 1, 1)", other)
    start = counted.first_hour
    counted.execute("INSERT INTO event_minute VALUES (%s, 'theirs', 1, %s, 1000000, 1, 1, 1)", other, start)
    counted.execute(SET_STATE, "incoming", other)
    wait_for_replicas(counted)
    for period in (Period(None, None), Period(start, start + 4 * HOUR)):
        answer = get_top(
            counted.cluster, TopQuery("view", Function.COUNT, period, limit=1), max_limit=1, now=datetime.now(UTC)
        )
        assert [item.video_id in counted.videos for item in answer.items] == [True]


def test_nobody_drains_a_copy_but_its_mover(counted):
    counted.add(seed=2)
    counted.execute(SET_STATE, "incoming", PARTITION)
    with pytest.raises(PartitionNotOwned):
        counted.drain()
    counted.execute("UPDATE partition_state SET epoch = 2 WHERE partition = %s", PARTITION)  # the one of the move
    assert find_claimed(counted.cluster) == set(range(counted.cluster.topology.partition_count)) - {PARTITION}


def test_a_drain_ends_where_it_is_told_to(counted):
    before = counted.log.read_tails([PARTITION]).positions[PARTITION]
    counted.add(seed=2, count=40)
    entries = counted.log.read(PARTITION, after=before, max_entries=10)
    report = make_drainer(counted.cluster, counted.log).drain([PARTITION], until=entries[1].position)
    assert (report.positions, report.caught_up) == ({PARTITION: str(entries[1].position)}, True)
    report = make_drainer(counted.cluster, counted.log).drain([PARTITION], until=entries[1].position)
    assert (report.flush_count, report.caught_up) == (0, True)
    counted.drain()
    counted.assert_exact()


def test_a_shard_that_forgot_an_arrival_owns_it_again_at_the_topologys_epoch(counted):
    counted.execute("UPDATE partition_state SET state = 'incoming', epoch = 2 WHERE partition = %s", PARTITION)
    assert PARTITION not in find_claimed(counted.cluster)
    assert read_state(counted)["state"] == "incoming"
    counted.execute("UPDATE partition_state SET epoch = 1 WHERE partition = %s", PARTITION)
    assert PARTITION in find_claimed(counted.cluster)
    assert read_state(counted)["state"] == "owned"


def test_the_log_is_kept_for_copies_that_are_behind(counted):
    tail = counted.log.read_tails([PARTITION]).positions[PARTITION]
    owner = counted.cluster.topology.get_shard_of(PARTITION)
    other = next(shard for shard in counted.cluster.topology.shards if shard != owner)
    with counted.cluster.shard_transaction(other.id) as connection:
        connection.execute(
            "INSERT INTO partition_state (partition, epoch, state, move_token) VALUES (%s, 2, 'incoming', %s)",
            (PARTITION, uuid4()),
        )
    try:
        assert trim_log_everywhere(counted.cluster, counted.log, safety_seconds=0) == 0
    finally:
        with counted.cluster.shard_transaction(other.id) as connection:
            connection.execute("DELETE FROM partition_state WHERE partition = %s", (PARTITION,))
    trim_until_done(counted)
    assert counted.log.read_unread({PARTITION: Position(0, 0)}).events[PARTITION] == 0
    assert counted.log.read_tails([PARTITION]).positions[PARTITION] == tail


def test_the_log_is_not_trimmed_by_a_shard_that_a_partition_has_left(counted):
    counted.execute(SET_STATE, "moved", PARTITION)
    assert trim_log_everywhere(counted.cluster, counted.log, safety_seconds=0) == 0


def wait_for_replicas(counted):
    """Until every instance says of every partition what the primary says."""
    shard = counted.cluster.topology.get_shard_of(PARTITION)
    partitions = counted.cluster.topology.get_partitions_of(shard.id)

    def find_obstacle():
        answers = counted.cluster.query_promotable_instances(shard.id, READ_STATES, {"partitions": partitions})
        states = {name: sorted(str(row | {"read_at": None}) for row in answer.rows) for name, answer in answers.items()}
        return None if len({tuple(rows) for rows in states.values()}) == 1 else "they differ"

    wait_while(find_obstacle, what="replicas to follow")


def trim_until_done(counted):
    """The replica must have applied it as well."""
    wait_until(
        lambda: trim_log_everywhere(counted.cluster, counted.log, safety_seconds=0), what="the replica to follow"
    )


def read_state(counted):
    rows = counted.cluster.read(
        PARTITION, READ_STATES, {"partitions": [PARTITION]}, consistency=Consistency.STRONG
    ).rows
    return rows[0]
