"""One whole cluster, servers and applications, for the tests that can share it: to start one costs 16 s of a core."""

from collections.abc import Iterator

import pytest

from localcluster import ClusterSpec, LocalCluster
from tests.clusters import run_cluster
from tests.conftest import NO_EVENTS, use_cluster
from viewcounter.cluster import get_cluster


@pytest.fixture(scope="package")
def running_cluster() -> Iterator[LocalCluster]:
    """Two shards of a primary and a replica, two gateway workers. Whoever hurts a part waits until it is well again."""
    with run_cluster(spec=ClusterSpec(partitions=8, web_workers=2)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def shared_cluster(running_cluster: LocalCluster) -> Iterator[LocalCluster]:
    """`running_cluster` without an event, and this process's settings on it."""
    use_cluster(running_cluster)
    clear_events()
    yield running_cluster
    get_cluster().close()


def clear_events() -> None:
    """While nothing is sent."""
    for shard in get_cluster().topology.shards:
        with get_cluster().shard_transaction(shard.id) as connection:
            connection.execute(NO_EVENTS)
