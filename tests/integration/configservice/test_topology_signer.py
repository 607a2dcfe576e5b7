"""What is published without a key is signed by a config service; keys are exchanged under way."""

import msgspec
import pytest
from django.db import connection, connections

from configservice.errors import NoSigner
from configservice.models import EventType, Leadership, TopologyEpoch
from configservice.topology import signer
from configservice.topology.publication import (
    check_signer,
    find_signing_key,
    find_unsigned_epoch,
    publish,
    push_to_cache,
    read_from_cache,
    read_from_control_database,
)
from configservice.topology.published_snapshot import PublishedSnapshot, build_published_snapshot
from configservice.topology.signer import TopologySigner
from configservice.topology.signing import PublicKeys, make_signing_key_file, read_signing_key
from devtools.localcluster.spec import SUPERUSER_ROLE
from shardproxy.connection import open_dedicated_connection
from tests.integration.configservice.conftest import CLUSTER_ID, read_topology
from tests.waiting import wait_until

SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'configservice signer' AND state = 'idle'"


@pytest.fixture
def publisher(init_cluster, settings):
    """This process has no key from here on, as a web process; what was published before is signed."""
    init_cluster()
    key = find_signing_key()
    settings.TOPOLOGY_SIGNING_KEY_FILE = None
    return key


@pytest.fixture
def start_signer(control, cluster_cache):
    """A config service's, with a key."""
    signers = []
    database = connections["default"].settings_dict

    def connect(session_name):
        return open_dedicated_connection(
            host=database["HOST"],
            port=database["PORT"],
            dbname=database["NAME"],
            user=database["USER"],
            password=database["PASSWORD"],
            application_name=session_name,
        )

    def start(key, *, cluster_id=CLUSTER_ID):
        signers.append(
            TopologySigner(
                key if callable(key) else lambda: key,
                open_connection=connect,
                cache_url=cluster_cache.url,
                cluster_id=cluster_id,
                call_seconds=2.0,
            )
        )
        signers[-1].start()
        return signers[-1]

    yield start
    for started in signers:
        started.close()


def add_event_type(number=7):
    EventType.objects.create(id=number, name=f"type{number}")
    return publish(reason="added", actor="ada")


def read_signers() -> set[str]:
    return set(TopologyEpoch.objects.first().signatures)


def is_listening() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(SESSIONS)
        return cursor.fetchone() == (1,)


def test_without_a_key_a_change_waits_and_processes_keep_what_is_signed(publisher, cluster_cache):
    before = read_from_cache(cluster_cache)
    published = add_event_type()
    assert find_unsigned_epoch() == published.epoch == 2
    assert find_unsigned_epoch(after_seconds=60.0) is None
    assert read_from_control_database(prefers_signed=True) == before
    assert read_from_control_database().decode() == published
    assert read_from_cache(cluster_cache) == before


def test_a_config_service_signs_what_others_publish_and_hands_it_to_the_cache(publisher, start_signer, cluster_cache):
    start_signer(publisher)
    wait_until(is_listening)
    published = add_event_type()
    wait_until(lambda: find_unsigned_epoch() is None)
    wait_until(lambda: read_from_cache(cluster_cache).decode() == published)
    signed = read_from_control_database(prefers_signed=True)
    assert signed == read_from_cache(cluster_cache)
    assert PublicKeys.parse(publisher.public).verify(signed)


def test_what_was_published_before_a_config_service_started_is_signed_when_it_does(publisher, start_signer):
    add_event_type()
    start_signer(publisher)
    wait_until(lambda: find_unsigned_epoch() is None)


def test_a_process_that_has_the_key_signs_at_once(init_cluster):
    init_cluster()
    assert find_unsigned_epoch() is None
    assert read_signers() == {find_signing_key().id}


def test_publishing_what_is_published_signs_what_the_release_before_left_unsigned(init_cluster, cluster_cache):
    init_cluster()
    TopologyEpoch.objects.update(signatures={})
    assert publish(reason="again", actor="ada").epoch == 1
    assert read_signers() == {find_signing_key().id}
    assert read_from_cache(cluster_cache) == read_from_control_database()


def test_the_release_before_can_go_on_publishing(publisher, start_signer):
    start_signer(publisher)
    snapshot = build_published_snapshot(msgspec.structs.replace(read_topology(), epoch=2)).snapshot
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO configservice_topologyepoch (epoch, snapshot, reason, actor, created_at)"
            " VALUES (2, %s, 'old', 'old', now())",
            [snapshot],
        )
    wait_until(lambda: read_signers() == {publisher.id})


@pytest.mark.parametrize("change", ["cluster", "partitions"])
def test_a_topology_that_processes_would_refuse_is_not_signed(publisher, start_signer, caplog, change):
    known = read_topology()
    false = {"cluster": {"cluster_id": "another"}, "partitions": {"assignments": known.assignments * 4}}[change]
    snapshot = build_published_snapshot(msgspec.structs.replace(known, epoch=2, **false)).snapshot
    TopologyEpoch.objects.create(epoch=2, snapshot=snapshot, reason="false", actor="nobody")
    start_signer(publisher)
    wait_until(lambda: "epoch 2 is not signed" in caplog.text)
    assert (read_signers(), find_unsigned_epoch()) == (set(), 2)
    assert read_from_control_database(prefers_signed=True).decode() == known


def test_a_cache_that_holds_something_else_is_put_right(publisher, start_signer, cluster_cache):
    true = read_from_control_database()
    false = PublishedSnapshot(build_published_snapshot(msgspec.structs.replace(true.decode(), epoch=10**6)).snapshot)
    push_to_cache(cluster_cache, false, 10**6)
    start_signer(publisher)
    wait_until(lambda: read_from_cache(cluster_cache) == true)


def test_a_new_key_signs_the_newest_topology_again_beside_the_old_one(publisher, start_signer, cluster_cache, tmp_path):
    new = make_signing_key_file(tmp_path / "new")
    start_signer(new)
    wait_until(lambda: read_signers() == {publisher.id, new.id})
    wait_until(lambda: set(read_from_cache(cluster_cache).signatures) == {publisher.id, new.id})
    signed = read_from_cache(cluster_cache)
    assert [PublicKeys.parse(key.public).verify(signed) for key in (publisher, new)] == [True, True]
    assert TopologyEpoch.objects.count() == 1


def test_a_signer_leaves_a_server_that_takes_no_writes(publisher, start_signer, servers, caplog, monkeypatch):
    """It has several hosts: the one that it leaves is not asked for ever."""
    monkeypatch.setattr(signer, "POLL_SECONDS", 0.05)
    start_signer(publisher)
    wait_until(is_listening)
    set_read_only(servers, "on")
    try:
        wait_until(lambda: "the server of this session takes no writes" in caplog.text)
    finally:
        set_read_only(servers, "off")
    wait_until(is_writable)
    published = add_event_type()
    wait_until(lambda: find_unsigned_epoch() is None)
    assert read_from_control_database(prefers_signed=True).decode() == published


def set_read_only(servers, state):
    with servers.database("control").connect(user=SUPERUSER_ROLE) as session:
        session.execute(f"ALTER SYSTEM SET default_transaction_read_only = {state}")
        session.execute("SELECT pg_reload_conf()")


def is_writable() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SHOW default_transaction_read_only")
        return cursor.fetchone() == ("off",)


def test_a_key_file_that_is_exchanged_is_used_without_a_restart(publisher, start_signer, tmp_path, monkeypatch):
    monkeypatch.setattr(signer, "POLL_SECONDS", 0.05)
    path = tmp_path / "key"
    old = make_signing_key_file(path)
    new = make_signing_key_file(tmp_path / "new")
    start_signer(lambda: read_signing_key(path))
    wait_until(lambda: read_signers() == {publisher.id, old.id})
    (tmp_path / "new").rename(path)
    wait_until(lambda: read_signers() == {publisher.id, old.id, new.id})
    path.unlink()
    add_event_type()
    wait_until(lambda: read_signers() == {new.id})


def test_a_signer_goes_on_after_the_control_database_was_away(publisher, start_signer, servers):
    start_signer(publisher)
    wait_until(is_listening)
    servers.server("control").kill()
    servers.server("control").start()
    servers.server("control").wait_ready()
    connections.close_all()
    add_event_type()
    wait_until(lambda: find_unsigned_epoch() is None)


def test_a_partition_is_not_held_while_nobody_could_sign_its_new_place(publisher, settings):
    Leadership.objects.all().delete()
    with pytest.raises(NoSigner):
        check_signer()
    settings.TOPOLOGY_PUBLIC_KEYS = ""
    check_signer()
