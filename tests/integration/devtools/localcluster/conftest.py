"""Real clusters in temporary folders; none outlives its test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.localcluster.temporary import create_temporary_state_dir
from tests.clusters import run_cluster

ONE_SHARD = ClusterSpec(shards=1, replicas_per_shard=1, partitions=4)
ONE_DATABASE = ClusterSpec(shards=1, replicas_per_shard=0, partitions=4)


@pytest.fixture
def state_dir() -> Iterator[Path]:
    with create_temporary_state_dir() as path:
        yield path


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One shard with a replica, shared by the tests of a module: each leaves it running."""
    with run_cluster(spec=ONE_SHARD, start=LocalCluster.start_servers) as running:
        yield running
