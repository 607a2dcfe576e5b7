"""Who drains which partitions, on real shards: processes come, go, die and are frozen."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest

from configservice.topology.model import Assignment
from shardproxy.errors import ShardProxyError
from tests.clock import Clock
from tests.integration.processing.counted import PARTITION, count_events
from tests.integration.processing.draining import make_drainer
from tests.waiting import wait_until
from viewcounter.processing.ownership import ShardOwnership, WorkerId
from viewcounter.processing.settings import PullSettings

SETTINGS = PullSettings(lease_seconds=60.0)
"""No lease ends because the machine is slow; a test ends it by hand."""
STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)


class Process:
    """The ownerships of one pull process on all shards, renewed by hand."""

    def __init__(self, cluster, number, *, started_at=None, settings=SETTINGS):
        self.cluster = cluster
        self.clock = Clock()
        self.worker = WorkerId(f"{number}-{uuid4().hex}", started_at or STARTED_AT + timedelta(minutes=number))
        self.shards = {
            shard.id: ShardOwnership(cluster, shard.id, worker=self.worker, settings=settings, clock=self.clock)
            for shard in cluster.topology.shards
        }

    def renew(self):
        for ownership in self.shards.values():
            ownership.renew()

    @property
    def drained(self):
        return {p for ownership in self.shards.values() for p in ownership.drained}

    def expire(self):
        """Let the shards' clocks pass its leases."""
        for shard_id in self.shards:
            run(self.cluster, shard_id, "UPDATE worker SET alive_until = now() WHERE id = %s", self.worker.id)

    def take(self):
        return {p for ownership in self.shards.values() for p in ownership.take()}


def run(cluster, shard_id, statement, *parameters):
    with cluster.shard_transaction(shard_id) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def read_owners(cluster):
    return {
        row["partition"]: row["owner"]
        for shard in cluster.topology.shards
        for row in run(cluster, shard.id, "SELECT partition, owner FROM partition_state")
    }


@pytest.fixture
def everything(clean_cluster):
    return set(range(clean_cluster.topology.partition_count))


def test_a_process_alone_drains_all_partitions_and_a_second_one_gets_half(clean_cluster, everything):
    first, second = Process(clean_cluster, 1), Process(clean_cluster, 2)
    first.renew()
    assert first.drained == everything
    second.renew()
    assert second.drained == set()  # they are the first one's still
    first.renew()
    second.renew()
    assert (first.drained | second.drained, first.drained & second.drained) == (everything, set())
    assert len(first.drained) == len(second.drained) == len(everything) // 2
    shards = clean_cluster.topology.shards
    assert first.drained == set(clean_cluster.topology.get_partitions_of(shards[0].id))  # a whole one


def test_a_partition_is_handed_over_only_when_its_drains_have_let_go_of_it(clean_cluster, everything):
    first, second = Process(clean_cluster, 1), Process(clean_cluster, 2)
    first.renew()
    assert first.take() == everything
    second.renew()
    for shard_id, ownership in first.shards.items():
        ownership.renew()
        assert ownership.is_over() == (len(ownership.drained) < len(clean_cluster.topology.get_partitions_of(shard_id)))
    assert set(read_owners(clean_cluster).values()) == {first.worker.id}
    assert [ownership.give_back() for ownership in first.shards.values()] == [False, True]  # one waits for it
    first.renew()
    second.renew()
    assert len(second.drained) == len(everything) // 2
    assert not any(o.is_over() for o in first.shards.values() if o.take() and o.drained)


def test_partitions_of_a_dead_process_are_taken_over_at_the_next_renewal(clean_cluster, everything):
    first, second = Process(clean_cluster, 1), Process(clean_cluster, 2)
    first.renew()
    second.renew()
    first.expire()
    second.renew()
    assert second.drained == everything
    first.renew()  # it was frozen
    assert first.drained == set()


def test_a_process_that_stops_leaves_its_partitions_to_the_others_at_once(clean_cluster, everything):
    first, second = Process(clean_cluster, 1), Process(clean_cluster, 2)
    first.renew()
    for ownership in first.shards.values():
        ownership.release()
    assert first.drained == set()
    second.renew()
    assert second.drained == everything


def test_a_row_that_another_transaction_holds_is_claimed_later_and_not_waited_for(clean_cluster, everything):
    held = clean_cluster.topology.get_partitions_of(clean_cluster.topology.shards[0].id)[1]
    process = Process(clean_cluster, 1)
    with clean_cluster.transaction(held) as connection:
        connection.execute("SELECT FROM partition_state WHERE partition = %s FOR UPDATE", [held])
        process.renew()
        assert process.drained == everything - {held}
    process.renew()
    assert process.drained == everything


def test_a_row_that_another_transaction_holds_is_handed_over_later(clean_cluster, everything):
    held = clean_cluster.topology.get_partitions_of(clean_cluster.topology.shards[1].id)[0]
    first, second = Process(clean_cluster, 1), Process(clean_cluster, 2)
    first.renew()
    second.renew()
    with clean_cluster.transaction(held) as connection:
        connection.execute("SELECT FROM partition_state WHERE partition = %s FOR NO KEY UPDATE", [held])
        first.renew()
        second.renew()
        assert len(second.drained) == len(everything) // 2 - 1
        assert read_owners(clean_cluster)[held] == first.worker.id
    first.renew()
    second.renew()
    assert held in second.drained


def test_a_frozen_process_stops_draining_by_its_own_clock(clean_cluster, everything):
    process = Process(clean_cluster, 1)
    process.renew()
    assert process.take() == everything
    process.clock.advance(SETTINGS.lease_seconds)
    assert process.drained == set()
    assert all(ownership.is_over() for ownership in process.shards.values())
    process.renew()
    assert process.drained == everything


def test_a_frozen_process_that_drains_on_counts_no_event_twice(clean_cluster):
    counted = count_events(clean_cluster)
    frozen, other = make_drainer(clean_cluster, counted.log), make_drainer(clean_cluster, counted.log)
    first, second = Process(clean_cluster, 1), Process(clean_cluster, 2)
    first.renew()
    counted.add(seed=1, count=300)
    for partition in first.take():
        frozen.drain([partition])
    first.expire()
    second.renew()
    counted.add(seed=2, count=300)
    for partition in second.take():
        other.drain([partition])
    counted.add(seed=3, count=300)
    frozen.drain([PARTITION])  # it does not know yet
    other.drain([PARTITION])
    assert counted.read("event_total") == counted.expect(seconds=None)


def test_the_clock_of_a_process_neither_prolongs_nor_ends_a_lease(clean_cluster, everything):
    wrong = [
        Process(clean_cluster, n, started_at=STARTED_AT + timedelta(days=days)) for n, days in ((1, -900), (2, 900))
    ]
    for process in wrong * 2:
        process.renew()
    for shard in clean_cluster.topology.shards:
        [row] = run(
            clean_cluster, shard.id, "SELECT max(alive_until) - now() < interval '1 minute' AS is_ours FROM worker"
        )
        assert row["is_ours"]
    assert [len(process.drained) for process in wrong] == [len(everything) // 2] * 2


def test_a_partition_that_its_taker_never_claims_is_claimed_by_another(clean_cluster, everything):
    settings = PullSettings(lease_seconds=60.0, ownerless_seconds=5.0)
    idle, process = Process(clean_cluster, 1), Process(clean_cluster, 2, settings=settings)
    for shard_id, ownership in idle.shards.items():
        ownership.renew()
        run(clean_cluster, shard_id, "UPDATE partition_state SET owner = NULL")
    process.renew()
    half = process.drained
    assert len(half) == len(everything) // 2
    process.clock.advance(4.0)
    process.renew()
    assert process.drained == half
    process.clock.advance(1.0)
    process.renew()
    assert set(read_owners(clean_cluster).values()) == {process.worker.id}
    process.renew()
    assert process.drained == everything  # it keeps them for a while


class OldTopology:
    """A cluster proxy that has not heard that a partition has come to the first shard."""

    def __init__(self, cluster, partition):
        self._cluster, self._partition = cluster, partition

    def __getattr__(self, name):
        return getattr(self._cluster, name)

    @property
    def topology(self):
        now = self._cluster.topology
        assignments = list(now.assignments)
        assignments[self._partition] = Assignment(shard_id=now.shards[1].id, epoch=0)
        return msgspec.structs.replace(now, assignments=tuple(assignments))


def test_a_process_with_an_old_topology_keeps_no_partition_that_it_does_not_drain(clean_cluster, everything):
    shard = clean_cluster.topology.shards[0]
    partition = clean_cluster.topology.get_partitions_of(shard.id)[0]
    old, process = Process(OldTopology(clean_cluster, partition), 1), Process(clean_cluster, 2)
    run(clean_cluster, shard.id, "UPDATE partition_state SET owner = %s WHERE partition = %s", old.worker.id, partition)
    for _ in range(2):
        old.renew()
        process.renew()
    assert read_owners(clean_cluster)[partition] is None
    for _ in range(3):
        process.clock.advance(5.0)
        process.renew()
        old.renew()
    assert partition in process.drained
    assert old.drained | process.drained == everything


def test_a_partition_that_a_shard_forgot_has_come_to_it_is_accepted_and_claimed(clean_cluster, everything):
    partition = min(everything)
    shard_id = clean_cluster.topology.get_shard_of(partition).id
    run(clean_cluster, shard_id, "UPDATE partition_state SET state = 'incoming' WHERE partition = %s", partition)
    process = Process(clean_cluster, 1)
    process.renew()
    assert process.drained == everything - {partition}
    process.renew()
    assert process.drained == everything
    run(
        clean_cluster,
        shard_id,
        "UPDATE partition_state SET state = 'incoming', epoch = 2, owner = NULL WHERE partition = %s",
        partition,
    )
    process.renew()
    process.renew()
    assert process.drained == everything - {partition}  # it is on its way: the topology has not given it to the shard


def test_a_held_partition_is_not_drained_and_keeps_its_owner(clean_cluster, everything):
    partition = max(everything)
    shard_id = clean_cluster.topology.get_shard_of(partition).id
    process = Process(clean_cluster, 1)
    process.renew()
    run(clean_cluster, shard_id, "UPDATE partition_state SET state = 'held' WHERE partition = %s", partition)
    process.renew()
    assert process.drained == everything - {partition}
    assert read_owners(clean_cluster)[partition] == process.worker.id
    run(clean_cluster, shard_id, "UPDATE partition_state SET state = 'owned' WHERE partition = %s", partition)
    process.renew()
    assert process.drained == everything


def test_leases_are_taken_again_after_a_crash_of_the_primary_has_emptied_the_table(clean_cluster, servers, everything):
    first, second = Process(clean_cluster, 1), Process(clean_cluster, 2)
    for process in (first, second, first, second):
        process.renew()
    owners = read_owners(clean_cluster)
    primary = servers.database(clean_cluster.topology.shards[0].primary.name)
    primary.kill()
    primary.start()
    primary.wait_ready()
    wait_until(lambda: run_when_it_answers(clean_cluster), what="the shard to answer again")
    assert run(clean_cluster, clean_cluster.topology.shards[0].id, "SELECT count(*) AS n FROM worker") == [{"n": 0}]
    for process in (first, second, first, second):
        process.renew()
    assert len(first.drained) == len(second.drained) == len(everything) // 2
    assert set(read_owners(clean_cluster).values()) == set(owners.values())


def run_when_it_answers(cluster):
    try:
        return run(cluster, cluster.topology.shards[0].id, "SELECT 1")
    except ShardProxyError:
        return []
