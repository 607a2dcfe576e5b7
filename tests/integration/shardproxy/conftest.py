"""One shard of a primary and a replica, for every test of this folder; each test leaves it running and whole."""

import pytest

from devtools.localcluster import ClusterSpec, LocalCluster
from tests.clusters import run_cluster
from tests.integration.shardproxy.servers import Servers


@pytest.fixture(scope="package")
def local_cluster():
    with run_cluster(spec=ClusterSpec(shards=1, partitions=4), start=LocalCluster.start_servers) as cluster:
        yield cluster


@pytest.fixture
def shard_servers(local_cluster):
    shard_servers = Servers(local_cluster)
    shard_servers.create_table()
    yield shard_servers
    shard_servers.mend()
