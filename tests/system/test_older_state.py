"""A shard is restored to an older state: the log replays the missing events."""

import shutil
import time

import pytest

from devtools.localcluster import ClusterSpec, LocalCluster
from tests.clusters import run_cluster
from tests.conftest import use_cluster
from tests.processes import run
from tests.system.exactness import assert_exactly_acknowledged
from tests.system.steady_load import post_steadily
from viewcounter.cluster import get_cluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(400), pytest.mark.long(minutes=1.5)]

LOAD_SECONDS = 6.0
COPY_SECONDS = 60


@pytest.fixture
def cluster_by_hand():
    """A cluster without automatic failover."""
    with run_cluster(spec=ClusterSpec(config_services=0)) as cluster:
        yield cluster


def test_a_shard_restored_to_an_older_state_becomes_exact_by_itself(cluster_by_hand: LocalCluster, tmp_path):
    cluster = cluster_by_hand
    use_cluster(cluster)
    primary, replica = cluster.database("shard1a"), cluster.database("shard1b")
    key = cluster.run_command("create_api_key", "older", "--scopes", "events:write", "--quiet").strip()
    copy = tmp_path / "copy"
    with post_steadily(cluster, key, seed=7) as load:
        time.sleep(LOAD_SECONDS)
        primary.kill()
        copy_folder(primary.data_dir, copy)
        primary.start()
        primary.wait_ready()
        before = read_positions(primary)
        time.sleep(LOAD_SECONDS)
        assert any(before[p] != position for p, position in read_positions(primary).items())

        primary.kill()
        replica.kill()
        for member, source in ((primary, copy), (replica, None)):
            shutil.rmtree(member.data_dir)
            if source is not None:
                copy_folder(source, member.data_dir)
        primary.start()
        primary.wait_ready()
        cluster.reseed_replica("shard1b")
        time.sleep(LOAD_SECONDS)
    assert_exactly_acknowledged(load, story=f"answers {load.statuses}")
    get_cluster().close()


def copy_folder(source, target):
    """With owners and modes."""
    assert run(["cp", "-a", source, target], within_seconds=COPY_SECONDS).returncode == 0


def read_positions(server):
    with server.connect() as connection:
        return dict(connection.execute("SELECT partition, position FROM partition_state").fetchall())
