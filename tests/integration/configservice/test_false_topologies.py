"""Another cluster, or an attacker, writes to the cache: no process acts on that."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from django.db import connections

from clusterproxy.disk_copy import find_disk_copy
from configservice.models import EventType
from configservice.topology.cluster_cache import ClusterCache
from configservice.topology.model import Topology
from configservice.topology.publication import (
    find_signing_key,
    publish,
    push_to_cache,
    read_from_cache,
    read_from_control_database,
)
from configservice.topology.published_snapshot import PublishedSnapshot, build_published_snapshot
from configservice.topology.signing import make_signing_key_file
from runtime.metrics import REGISTRY
from tests.integration.configservice.conftest import CLUSTER_ID, read_topology
from tests.waiting import wait_until
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config

OTHER_CLUSTER = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def start_process(init_cluster, monkeypatch, tmp_path):
    """A process of the cluster with a state folder of its own; called again, it is started again."""
    init_cluster()

    def start(**settings: str):
        forget()
        changed = {"STATE_DIR": str(tmp_path / "state"), "CLUSTER_ID": CLUSTER_ID} | settings
        for name, value in changed.items():
            monkeypatch.setenv(f"VIEWCOUNTER_{name}", value)
        return get_cluster()

    yield start
    forget()
    monkeypatch.undo()
    get_config.cache_clear()


def forget() -> None:
    get_cluster().close()
    for read_once in (get_config, get_cluster):
        read_once.cache_clear()


def write(cluster_cache: ClusterCache, topology: Topology, *keys) -> PublishedSnapshot:
    """Like a config service: writes the cache and publishes on the channel."""
    snapshot = build_published_snapshot(topology).snapshot
    published = PublishedSnapshot(snapshot, {key.id: key.sign(snapshot) for key in keys})
    push_to_cache(cluster_cache, published, topology.epoch)
    return published


def falsify(**changes) -> Topology:
    return msgspec.structs.replace(read_topology(), epoch=10**6, **changes)


def add_event_type() -> Topology:
    EventType.objects.create(id=7, name="type7")
    return publish(reason="added", actor="ada")


def count_refusals(reason: str) -> float:
    return REGISTRY.get_sample_value("viewcounter_topologies_refused_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize("reason", ["unsigned", "wrong_signature", "other_partition_count"])
def test_a_topology_with_more_partitions_is_refused_and_does_not_stick(start_process, cluster_cache, tmp_path, reason):
    process = start_process()
    known, before = process.topology, count_refusals(reason)
    keys = {"unsigned": [], "wrong_signature": [make_signing_key_file(tmp_path / "foreign")]}
    write(cluster_cache, falsify(assignments=known.assignments * 4), *keys.get(reason, [find_signing_key()]))
    wait_until(lambda: process.refused_topologies == {"the cache": reason})
    process.refresh_topology()
    assert process.topology == known
    assert find_disk_copy(tmp_path / "state") == read_from_control_database()
    assert count_refusals(reason) > before
    # A true change arrives although the cache is false, and then mends the cache.
    published = add_event_type()
    wait_until(lambda: process.topology == published)
    assert process.refused_topologies == {}
    assert read_from_cache(cluster_cache).decode() == published
    # And nothing of it is left on the host.
    assert start_process().topology == published


def test_a_server_that_somebody_adds_in_the_cache_is_never_connected_to(start_process, cluster_cache):
    process = start_process()
    known = process.topology
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(1.5)  # many times as long as a process needs to probe a server that it believes in
        first, *others = known.shards
        false = msgspec.structs.replace(
            first.replicas[0],
            name="shard1z",
            port=listener.getsockname()[1],
            password_ref="env:VIEWCOUNTER_SECRET_KEY",
        )
        shard = msgspec.structs.replace(first, instances=(*first.instances, false))
        process.get_replica_lags(first.id)  # starts the probes
        write(cluster_cache, falsify(shards=(shard, *others)))
        wait_until(lambda: process.refused_topologies == {"the cache": "unsigned"})
        with pytest.raises(TimeoutError):
            listener.accept()
    assert process.topology == known


def test_another_topology_of_the_same_epoch_is_an_alarm_even_if_our_key_signed_it(start_process, cluster_cache):
    process = start_process()
    known = process.topology
    write(cluster_cache, msgspec.structs.replace(known, event_types=known.event_types[:1]), find_signing_key())
    wait_until(lambda: process.refused_topologies == {"the cache": "same_epoch_other_content"})
    assert process.topology == known


def test_an_older_topology_that_is_repeated_moves_no_route_back(start_process, cluster_cache):
    process = start_process()
    old = process.topology
    published = add_event_type()
    wait_until(lambda: process.topology == published)
    write(cluster_cache, old, find_signing_key())
    wait_until(lambda: process.refused_topologies == {"the cache": "older_epoch"})
    assert process.topology == published
    # A process that starts while the control database is away has but the cache and its disk.
    with control_database_away():
        restarted = start_process()
        assert restarted.topology == published
        assert restarted.refused_topologies == {"the cache": "older_epoch"}


@contextmanager
def control_database_away() -> Iterator[None]:
    """No server listens at the address."""
    address = connections["default"].settings_dict
    port = address["PORT"]
    connections.close_all()
    address["PORT"] = 1
    try:
        yield
    finally:
        forget()
        connections.close_all()
        address["PORT"] = port


def test_a_process_that_starts_beside_a_false_cache_takes_the_control_databases(start_process, cluster_cache):
    start_process()
    write(cluster_cache, falsify(cluster_id=OTHER_CLUSTER), find_signing_key())
    process = start_process()
    assert process.topology == read_topology()
    assert process.refused_topologies == {"the cache": "other_cluster"}


def test_another_cluster_on_the_same_cache_server_is_not_met(start_process, cluster_cache):
    process = start_process()
    known = process.topology
    other = ClusterCache(cluster_cache.url, OTHER_CLUSTER)
    theirs = write(other, falsify(cluster_id=OTHER_CLUSTER), find_signing_key())
    published = add_event_type()
    wait_until(lambda: process.topology == published)
    assert (process.refused_topologies, known.epoch + 1) == ({}, published.epoch)
    assert read_from_cache(other) == theirs


def test_without_public_keys_the_cache_is_but_a_hint(start_process, cluster_cache, settings):
    settings.TOPOLOGY_PUBLIC_KEYS, settings.TOPOLOGY_SIGNING_KEY_FILE = "", None
    process = start_process(CLUSTER_TOPOLOGY_PUBLIC_KEYS="")
    known = process.topology
    write(cluster_cache, falsify(event_types=known.event_types[:1]))
    process.refresh_topology()
    assert process.topology == known
    published = add_event_type()
    wait_until(lambda: process.topology == published)


def test_a_new_host_that_knows_only_public_keys_starts_from_the_cache(start_process):
    published = add_event_type()
    with control_database_away():
        assert start_process(CLUSTER_ID="").topology == published
