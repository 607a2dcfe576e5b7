"""One whole cluster, servers and applications, for the tests that can share it: its start costs 16 s of CPU time."""

from collections.abc import Iterator
from functools import partial

import pytest

from devtools.localcluster import ClusterSpec, LocalCluster
from shardproxy.errors import Conflict
from tests.clusters import SELDOM, run_cluster
from tests.conftest import NO_EVENTS, use_cluster
from tests.waiting import wait_until
from viewcounter.cluster import get_cluster


@pytest.fixture(scope="package")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Two shards of a primary and a replica, two gateway workers with a spool for when the log is away.

    A test that injects a fault waits until the cluster is healthy again.
    """
    settings = SELDOM | {
        "VIEWCOUNTER_SPOOL_DIR": str(tmp_path_factory.mktemp("spool")),
        "VIEWCOUNTER_API_KEY_COPY_SECONDS": "1",
    }
    with run_cluster(spec=ClusterSpec(partitions=8, web_workers=2), settings=settings) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def shared_cluster(running_cluster: LocalCluster) -> Iterator[LocalCluster]:
    """`running_cluster` without events, with this process's settings pointing to it."""
    use_cluster(running_cluster)
    clear_events()
    yield running_cluster
    get_cluster().close()


def clear_events() -> None:
    """While nothing is sent; periodic work that goes on may get in the way of it."""
    for shard in get_cluster().topology.shards:
        wait_until(partial(_clear, shard.id), what=f"{shard.name} without an event")


def _clear(shard_id: int) -> bool:
    try:
        with get_cluster().shard_transaction(shard_id) as connection:
            connection.execute(NO_EVENTS)
    except Conflict:
        return False
    return True
