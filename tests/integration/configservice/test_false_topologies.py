"""Somebody else writes to the cache: another cluster, or whoever can reach it. Nobody acts on what it says."""

import msgspec
import pytest

from clusterproxy.disk_copy import find_disk_copy
from configservice.cluster_cache import ClusterCache
from configservice.models import EventType
from configservice.publication import publish, push_to_cache, read_from_cache, read_from_control_database
from configservice.published_snapshot import build_published_snapshot
from configservice.topology import Topology
from tests.integration.configservice.conftest import CLUSTER_ID, read_topology
from tests.waiting import wait_until
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.metrics import REGISTRY


@pytest.fixture
def process(init_cluster, monkeypatch, tmp_path):
    """A process of the cluster, with a state folder of its own and everything else as settings say."""
    init_cluster()
    monkeypatch.setenv("VIEWCOUNTER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("VIEWCOUNTER_CLUSTER_ID", CLUSTER_ID)
    for read_once in (get_config, get_cluster):
        read_once.cache_clear()
    yield get_cluster()
    get_cluster().close()
    monkeypatch.undo()
    for read_once in (get_config, get_cluster):
        read_once.cache_clear()


def write(cluster_cache: ClusterCache, **changes) -> None:
    """As the config service would: into the cache, and said on its channel."""
    false = msgspec.structs.replace(read_topology(), epoch=10**6, **changes)
    push_to_cache(cluster_cache, build_published_snapshot(false), false.epoch)


def count_refusals(reason: str) -> float:
    return REGISTRY.get_sample_value("viewcounter_topologies_refused_total", {"reason": reason}) or 0.0


def test_a_topology_with_more_partitions_is_refused_and_does_not_stick(process, cluster_cache, tmp_path):
    known = process.topology
    before = count_refusals("other_partition_count")
    write(cluster_cache, assignments=known.assignments * 4)
    wait_until(lambda: process.refused_topologies == {"the cache": "other_partition_count"})
    process.refresh_topology()
    assert process.topology == known
    assert find_disk_copy(tmp_path / "state") == read_from_control_database()
    assert count_refusals("other_partition_count") > before
    # A true change arrives although the cache is false, and then mends the cache.
    published = publish_event_type()
    wait_until(lambda: process.topology == published)
    assert process.refused_topologies == {}
    assert read_from_cache(cluster_cache).decode() == published


def test_a_process_that_starts_beside_a_false_cache_takes_the_control_databases(process, cluster_cache):
    write(cluster_cache, cluster_id="00000000-0000-4000-8000-000000000000")
    assert process.topology == read_topology()
    assert process.refused_topologies == {"the cache": "other_cluster"}


def test_another_cluster_on_the_same_cache_server_is_not_met(process, cluster_cache):
    known = process.topology
    other = ClusterCache(cluster_cache.url, "00000000-0000-4000-8000-000000000000")
    write(other, cluster_id=other.cluster_id)
    published = publish_event_type()
    wait_until(lambda: process.topology == published)
    assert (process.refused_topologies, known.epoch + 1) == ({}, published.epoch)
    assert read_from_cache(other).decode().cluster_id == other.cluster_id


def publish_event_type() -> Topology:
    EventType.objects.create(id=7, name="type7")
    return publish(reason="added", actor="ada")
