"""One shard of a primary and a replica, for every test of this folder; each test leaves it running and whole."""

import pytest

from localcluster import ClusterSpec, LocalCluster
from tests.integration.shardproxy.servers import Servers


@pytest.fixture(scope="package")
def local_cluster(tmp_path_factory):
    with LocalCluster(tmp_path_factory.mktemp("cluster"), spec=ClusterSpec(shards=1, partitions=4)) as cluster:
        cluster.start_servers()
        yield cluster


@pytest.fixture
def servers(local_cluster):
    servers = Servers(local_cluster)
    servers.create_table()
    yield servers
    servers.mend()
