"""Lag of a replica in bytes, partitions and events, to the event."""

import pytest

from clusterproxy.registry import InstanceRegistry
from devtools.localcluster.spec import SUPERUSER_ROLE
from tests.waiting import wait_until
from viewcounter.config import get_config
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.shardwatch.instance_lag import InstanceLag, measure_shard_lag

PARTITION = 3


@pytest.fixture
def measure(clean_cluster):
    registry, log = InstanceRegistry(get_config().pool), MemoryEventLog()
    topology = clean_cluster.topology
    shard = topology.get_shard_of(PARTITION)

    def measure():
        lags = measure_shard_lag(registry, log, topology, shard, seconds=10)
        return {lag.instance: lag for lag in lags}

    measure.log, measure.shard = log, shard
    yield measure
    registry.close()


def append(log, partition, event_count):
    events = [AcceptedEvent(bytes(range(16)), "video", 1, 0, 0)] * event_count
    return log.append({partition: pack_entry(events, received_us=0)}).positions[partition]


def test_a_replica_that_stands_still_is_behind_by_what_its_primary_has_applied_since(measure, clean_cluster, servers):
    primary, replica = measure.shard.primary.name, measure.shard.replicas[0].name
    same_shard = [p for p in range(32) if clean_cluster.topology.get_shard_of(p).id == measure.shard.id][:2]
    caught_up = InstanceLag(measure.shard.name, replica, bytes_behind=0, partitions_behind=0, events_behind=0)
    wait_until(lambda: measure()[replica] == caught_up)
    with servers.database(replica).connect(user=SUPERUSER_ROLE) as connection:
        connection.execute("SELECT pg_wal_replay_pause()")
        try:
            for partition, sizes in zip(same_shard, ((20, 7), (5,)), strict=True):
                position = [append(measure.log, partition, size) for size in sizes][-1]
                append(measure.log, partition, 100)  # not applied anywhere: nobody is behind by it
                with clean_cluster.transaction(partition) as shard_connection:
                    shard_connection.execute(
                        "UPDATE partition_state SET position = %s WHERE partition = %s", [str(position), partition]
                    )
            lags = measure()
        finally:
            connection.execute("SELECT pg_wal_replay_resume()")
    assert (lags[replica].partitions_behind, lags[replica].events_behind) == (2, 32)
    assert lags[replica].bytes_behind > 100
    assert lags[primary] == InstanceLag(measure.shard.name, primary, 0, 0, 0)
    wait_until(lambda: measure()[replica] == caught_up)
