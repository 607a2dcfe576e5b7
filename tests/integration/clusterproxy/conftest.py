"""Two shards of a primary and a replica each, and cluster proxies on them; each test leaves the servers whole."""

import pytest

from clusterproxy.proxy import ClusterProxy
from clusterproxy.settings import ClusterSettings
from configservice.topology.event_types import DEFAULT_EVENT_TYPES
from configservice.topology.model import Assignment, Shard, Topology
from configservice.topology.published_snapshot import PublishedSnapshot, build_published_snapshot
from devtools.localcluster import ClusterSpec, LocalCluster
from shardproxy.settings import PoolSettings, QueryBudgets
from tests.clusters import run_cluster
from tests.integration.shardproxy.limits import ANY_FILE
from tests.integration.shardproxy.servers import Servers

PARTITION_COUNT = 8
POOL = PoolSettings(
    password_refs=ANY_FILE,
    query=QueryBudgets(point_seconds=0.5, flush_seconds=1.0, report_seconds=2.0),
    wait_seconds=0.5,
    breaker_open_seconds=0.5,
)


class Shelf:
    """A topology source that holds whatever a test puts there."""

    place = "the shelf"
    is_open = False

    def __init__(self, topology: Topology) -> None:
        self.topology = topology

    def fetch(self, held: PublishedSnapshot | None) -> PublishedSnapshot | None:
        found = build_published_snapshot(self.topology)
        return None if found == held else found


class Silent:
    """A topology source that is down."""

    place = "a source that is down"
    is_open = False

    def fetch(self, held: PublishedSnapshot | None) -> PublishedSnapshot | None:
        raise ConnectionError(f"down, whatever came after {held}")


@pytest.fixture(scope="package")
def local_cluster():
    with run_cluster(spec=ClusterSpec(shards=2), start=LocalCluster.start_servers) as cluster:
        yield cluster


@pytest.fixture
def shard_servers(local_cluster):
    shard_servers = Servers(local_cluster)
    shard_servers.create_table()
    yield shard_servers
    shard_servers.mend()


@pytest.fixture
def topology(shard_servers):
    """Epoch 1: even partitions on shard 1, odd ones on shard 2."""
    shards = tuple(
        Shard(id=n, name=f"shard{n}", term=1, instances=tuple(shard_servers.get_instance(f"shard{n}{c}") for c in "ab"))
        for n in (1, 2)
    )
    assignments = tuple(Assignment(1 + p % 2, 1) for p in range(PARTITION_COUNT))
    return Topology(epoch=1, shards=shards, assignments=assignments, event_types=DEFAULT_EVENT_TYPES)


@pytest.fixture
def open_cluster(topology, tmp_path):
    """A cluster proxy on `source`, closed at the end of the test."""
    proxies = []

    def open_one(source=None, *, on_failed_attempt=None, pool=POOL, state_dir=None, **changes):
        settings = {
            "topology_poll_seconds": 0.1,
            "topology_refresh_min_seconds": 0.0,
            "health_interval_seconds": 0.2,
            "health_probe_seconds": 0.5,
        }
        proxies.append(
            ClusterProxy(
                topology_sources=[source or Shelf(topology)],
                settings=ClusterSettings(**settings | changes),
                pool=pool,
                state_dir=state_dir or tmp_path / f"process{len(proxies)}",
                on_failed_attempt=on_failed_attempt,
            )
        )
        return proxies[-1]

    yield open_one
    for proxy in proxies:
        proxy.close()
