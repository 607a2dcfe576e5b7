"""Every change is one epoch; it reaches the cache if possible, and never depends on it."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from django.db import DatabaseError, IntegrityError, connection, transaction

from configservice.errors import (
    ClusterNotInitialised,
    ControlDatabaseUnavailable,
    NotSignable,
    OtherCluster,
    TopologyCacheEmpty,
    TopologyCacheUnavailable,
)
from configservice.models import Cluster, EventType, Instance, Shard, TopologyEpoch
from configservice.topology.cache_keys import format_cache_key
from configservice.topology.cluster_cache import ClusterCache
from configservice.topology.history import Change, read_history
from configservice.topology.publication import (
    TOPOLOGY_CHANNEL,
    TOPOLOGY_KEY,
    fill_empty_cache,
    lock_topology,
    publish,
    read_from_cache,
    read_from_control_database,
)
from configservice.topology.signer import check_signable
from tests.integration.configservice.conftest import CLUSTER_ID
from tests.pace import limit

KEY = format_cache_key(CLUSTER_ID, TOPOLOGY_KEY)


def add_event_type(number):
    EventType.objects.create(id=number, name=f"type{number}")


@pytest.fixture
def cache(cluster_cache, control):
    with redis.Redis.from_url(cluster_cache.url, socket_timeout=limit(5)) as client:
        client.delete(KEY)
        yield client


def test_publish_numbers_keeps_and_pushes(init_cluster, cache, cluster_cache):
    init_cluster()
    with cache.pubsub() as subscription:
        subscription.subscribe(format_cache_key(CLUSTER_ID, TOPOLOGY_CHANNEL))
        assert subscription.get_message(timeout=limit(5.0))["type"] == "subscribe"
        add_event_type(7)
        topology = publish(reason="added event type type7", actor="ada")
        assert subscription.get_message(timeout=limit(5.0))["data"] == b"2"
    assert topology.epoch == 2
    assert topology.find_event_type("type7").id == 7
    assert read_from_cache(cluster_cache) == read_from_control_database()
    assert read_from_cache(cluster_cache).decode() == topology
    newest = TopologyEpoch.objects.first()
    assert (newest.epoch, newest.reason, newest.actor) == (2, "added event type type7", "ada")


def test_publishing_what_is_published_makes_no_epoch_and_fills_an_empty_cache(init_cluster, cache, cluster_cache):
    init_cluster()
    cache.delete(KEY)
    assert publish(reason="again", actor="ada").epoch == 1
    assert TopologyEpoch.objects.count() == 1
    assert read_from_cache(cluster_cache).decode().epoch == 1


def test_a_process_that_froze_while_it_changes_the_topology_holds_up_nobody(init_cluster):
    init_cluster()
    assert "idle_in_transaction_session_timeout=10000" in connection.settings_dict["OPTIONS"]["options"]
    has_locked, wake = threading.Event(), threading.Event()

    def freeze() -> None:
        try:
            with connection.cursor() as cursor:  # in this thread's session only
                cursor.execute("SET idle_in_transaction_session_timeout = 200")
            with transaction.atomic():
                lock_topology()
                has_locked.set()
                assert wake.wait(limit(60))
                add_event_type(7)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        frozen = pool.submit(freeze)
        assert has_locked.wait(limit(60))
        add_event_type(8)
        assert publish(reason="another change", actor="ada").epoch == 2
        wake.set()
        with pytest.raises(DatabaseError, match="idle-in-transaction"):
            frozen.result()
    assert not EventType.objects.filter(pk=7).exists()


def test_nothing_is_published_before_the_cluster_is_made(control, cache):
    add_event_type(7)
    with pytest.raises(ClusterNotInitialised):
        publish(reason="too early", actor="ada")
    assert TopologyEpoch.objects.count() == 0
    assert cache.get(KEY) is None


def test_a_rolled_back_change_is_neither_published_nor_pushed(init_cluster, cluster_cache):
    init_cluster()
    with pytest.raises(KeyError), transaction.atomic():
        add_event_type(7)
        assert publish(reason="added", actor="ada").epoch == 2
        raise KeyError
    assert read_from_control_database().decode().epoch == 1
    assert read_from_cache(cluster_cache).decode().epoch == 1


def test_publishers_at_the_same_time_get_one_epoch_each(init_cluster):
    init_cluster()
    barrier = threading.Barrier(4)

    def change(number):
        try:
            barrier.wait(limit(10))
            with transaction.atomic():
                add_event_type(number)
                return publish(reason=f"type{number}", actor="ada").epoch
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as executor:
        epochs = list(executor.map(change, range(10, 14)))
    assert sorted(epochs) == [2, 3, 4, 5]
    newest = read_from_control_database().decode()
    assert newest.epoch == 5
    assert [t.id for t in newest.event_types if t.id >= 10] == [10, 11, 12, 13]


def test_a_dead_cache_does_not_fail_a_publish(init_cluster, settings):
    init_cluster()
    settings.TOPOLOGY_CACHE_URL = "redis://127.0.0.1:1/0"
    add_event_type(7)
    assert publish(reason="added", actor="ada").epoch == 2
    assert read_from_control_database().decode().epoch == 2


def test_a_frozen_cache_does_not_fail_a_publish(init_cluster, settings):
    init_cluster()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.TOPOLOGY_CACHE_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        add_event_type(7)
        assert publish(reason="added", actor="ada").epoch == 2
        with pytest.raises(TopologyCacheUnavailable):
            read_from_cache(ClusterCache(settings.TOPOLOGY_CACHE_URL, CLUSTER_ID))
    assert read_from_control_database().decode().epoch == 2


def test_readers_of_the_control_database_get_nothing_for_the_snapshot_they_hold(init_cluster):
    init_cluster()
    held = read_from_control_database()
    assert read_from_control_database(held) is None
    add_event_type(7)
    publish(reason="added", actor="ada")
    assert read_from_control_database(held).decode().epoch == 2
    TopologyEpoch.objects.filter(epoch=2).update(snapshot=held.snapshot.replace("shard1b", "shard1c"))
    assert read_from_control_database(held).decode() != held.decode()


def test_a_control_database_of_another_cluster_than_the_settings_name_is_refused(init_cluster, settings):
    init_cluster()
    settings.CLUSTER_ID = "00000000-0000-4000-8000-000000000000"
    add_event_type(7)
    with pytest.raises(OtherCluster, match=CLUSTER_ID):
        publish(reason="added", actor="ada")
    assert TopologyEpoch.objects.count() == 1


def test_an_empty_or_broken_cache(cache, cluster_cache):
    with pytest.raises(TopologyCacheEmpty):
        read_from_cache(cluster_cache)
    cache.set(KEY, b"{")
    with pytest.raises(TopologyCacheUnavailable):
        read_from_cache(cluster_cache)


def test_a_cache_that_lost_its_content_is_filled_and_one_with_some_is_left_alone(init_cluster, cache, cluster_cache):
    init_cluster()
    cache.delete(KEY)
    assert fill_empty_cache(cluster_cache).decode().epoch == 1
    assert read_from_cache(cluster_cache).decode().epoch == 1
    add_event_type(7)
    newer = publish(reason="added", actor="ada")
    TopologyEpoch.objects.filter(epoch=2).delete()
    assert fill_empty_cache(cluster_cache).decode().epoch == 1
    assert read_from_cache(cluster_cache).decode() == newer


def test_reading_goes_on_by_itself_after_the_control_database_was_away(init_cluster, servers):
    init_cluster()
    servers.server("control").kill()
    try:
        for _ in range(2):
            with pytest.raises(ControlDatabaseUnavailable):
                read_from_control_database()
    finally:
        servers.server("control").start()
        servers.server("control").wait_ready()
    assert read_from_control_database().decode().epoch == 1


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"role": "primary"}, "one_primary_per_shard"),
        ({"role": "master"}, "known_role"),
        ({"port": 5001}, "unique_address"),
        ({"port": 0}, "port_in_range"),
        ({"password_ref": "hunter2"}, "password_is_a_reference"),
        ({"sslmode": "sometimes"}, "known_sslmode"),
    ],
)
def test_the_database_itself_refuses_an_impossible_instance(init_cluster, change, constraint):
    init_cluster()
    with pytest.raises(IntegrityError, match=constraint):
        Instance.objects.filter(name="shard1b").update(**change)
    assert Instance.objects.get(name="shard1b").port == 5002


def test_a_shard_with_instances_cannot_be_deleted(init_cluster):
    init_cluster()
    with pytest.raises(IntegrityError):
        Shard.objects.first().delete()
    assert Shard.objects.count() == 2


def test_generation_of_the_control_database_is_published_and_shown_in_the_history(init_cluster):
    init_cluster()
    assert read_from_control_database().decode().version == (0, 1)
    Cluster.objects.update(generation=2)
    assert publish(reason="a test", actor="ada").version == (2, 2)
    assert read_from_control_database().decode().version == (2, 2)
    (entry,) = read_history(limit=1)
    assert entry.changes == (Change("cluster", "", "generation", 0, 2),)


def test_topology_of_a_generation_below_the_last_signed_one_is_not_signed(init_cluster):
    init_cluster()
    Cluster.objects.update(generation=2)
    last_signed = publish(reason="a test", actor="ada")
    Cluster.objects.update(generation=1)
    older = publish(reason="a test", actor="ada")
    with pytest.raises(NotSignable, match="it has generation 1, the last signed one has 2"):
        check_signable(older, last_signed, CLUSTER_ID)
    check_signable(last_signed, last_signed, CLUSTER_ID)
