"""A small cluster for these tests: moves change the topology, which other tests rely on."""

import pytest
from django.db import connections

from clusterproxy.proxy import ClusterProxy
from configservice.models import Move, PartitionAssignment, Shard
from configservice.topology.publication import publish
from devtools.localcluster import ClusterSpec, LocalCluster
from tests.clusters import run_cluster, start_prepared_servers
from tests.conftest import NO_EVENTS, NOTHING_ELSE, use_cluster
from tests.integration.moves.moving import Moving
from tests.waiting import wait_until
from viewcounter.cluster import get_cluster
from viewcounter.storage.partitions import adopt_partitions

PARTITIONS = 8


@pytest.fixture(scope="package")
def move_cluster(servers: LocalCluster):
    get_cluster().close()
    with run_cluster(spec=ClusterSpec(partitions=PARTITIONS), start=start_prepared_servers) as cluster:
        use_cluster(cluster)
        yield cluster
        get_cluster().close()
        connections.close_all()
    use_cluster(servers)


@pytest.fixture
def clean_cluster(move_cluster, django_db_blocker):
    """Replaces the common fixture: odd partitions on shard2, even ones on shard1, all empty, no moves."""
    with django_db_blocker.unblock():
        Move.objects.all().delete()
        for name, rest in (("shard1", 0), ("shard2", 1)):
            own = [p for p in range(PARTITIONS) if p % 2 == rest]
            PartitionAssignment.objects.filter(partition__in=own).update(shard=Shard.objects.get(name=name), epoch=1)
        published = publish(reason="clean", actor="test")
        cluster = get_cluster()
        wait_until(lambda: knows(cluster, published.epoch))
        for shard in cluster.topology.shards:
            with cluster.shard_transaction(shard.id) as connection:
                connection.execute(NO_EVENTS)
                connection.execute(NOTHING_ELSE)
                connection.execute("DELETE FROM partition_state")
                adopt_partitions(connection, dict.fromkeys(cluster.topology.get_partitions_of(shard.id), 1))
        yield cluster


def knows(cluster: ClusterProxy, epoch: int) -> bool:
    """Refreshes repeatedly: a refresh does nothing when one has just run."""
    cluster.refresh_topology()
    return cluster.topology.epoch >= epoch


@pytest.fixture
def moving(clean_cluster) -> Moving:
    """A partition with rows in every table, about to move from shard2 to shard1."""
    return Moving.fill(clean_cluster)
