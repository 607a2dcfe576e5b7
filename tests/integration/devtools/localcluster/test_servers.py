"""Set-up of the servers, and faults that they survive."""

import os
import signal

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from devtools.localcluster import LocalCluster
from devtools.localcluster.errors import NotReady
from devtools.localcluster.postgres import PostgresServer
from tests.waiting import wait_until


def put(server: PostgresServer, key: str) -> None:
    with server.connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (key text PRIMARY KEY)")
        connection.execute("INSERT INTO kept VALUES (%s)", (key,))


def has(server: PostgresServer, key: str) -> bool:
    try:
        with server.connect() as connection:
            return connection.execute("SELECT 1 FROM kept WHERE key = %s", (key,)).fetchone() is not None
    except psycopg.Error:
        return False


def test_a_replica_streams_through_its_own_slot_what_its_primary_commits(cluster: LocalCluster):
    primary, replica = cluster.database("shard1a"), cluster.database("shard1b")
    put(primary, "streamed")
    wait_until(lambda: has(replica, "streamed"))
    with primary.connect(user="postgres") as connection:
        streaming = connection.execute("SELECT application_name, state FROM pg_stat_replication").fetchall()
        slots = connection.execute("SELECT slot_name, active, wal_status FROM pg_replication_slots").fetchall()
    assert streaming == [("shard1b", "streaming")]
    assert slots == [("shard1b", True, "reserved")]
    with replica.connect() as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("INSERT INTO kept VALUES ('refused')")


@pytest.mark.parametrize("name", ["control", "shard1a", "shard1b"])
def test_a_database_checks_its_pages_listens_on_loopback_and_admits_by_scram_only(cluster: LocalCluster, name: str):
    with cluster.database(name).connect(user="postgres") as connection:
        settings = {
            key: connection.execute(f"SHOW {key}").fetchone()[0]
            for key in ("data_checksums", "listen_addresses", "unix_socket_directories", "fsync", "cluster_name")
        }
        methods = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
        errors = connection.execute("SELECT name FROM pg_file_settings WHERE error IS NOT NULL").fetchall()
        passwords = connection.execute("SELECT rolname FROM pg_authid WHERE rolpassword LIKE 'SCRAM-SHA-256$%'")
        roles = {role for (role,) in passwords.fetchall()}
    assert settings == {
        "data_checksums": "on",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "on",
        "cluster_name": name,
    }
    assert methods == [("scram-sha-256",)]
    assert errors == []
    watching = set() if name == "control" else {"viewcounter_shardproxy", "viewcounter_configservice"}
    assert roles == {"postgres", "viewcounter", "replicator"} | watching


def test_the_service_owns_its_database_and_is_no_superuser(cluster: LocalCluster):
    with cluster.database("shard1a").connect() as connection:
        owner = connection.execute(
            "SELECT r.rolname, r.rolsuper, r.rolreplication FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba "
            "WHERE d.datname = current_database()"
        ).fetchone()
    assert owner == ("viewcounter", False, False)


def test_a_wrong_password_is_refused_by_every_server(cluster: LocalCluster):
    port = cluster.database("control").port
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host="127.0.0.1", port=port, dbname="postgres", user="postgres", password="wrong")
    for name in ("log", "broker"):
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=cluster.valkey(name).port, retry=Retry(NoBackoff(), 0)).ping()


def test_the_log_server_syncs_every_write_and_evicts_nothing(cluster: LocalCluster):
    with cluster.valkey("log").connect() as log:
        settings = {key: log.config_get(key)[key] for key in ("appendonly", "appendfsync", "maxmemory-policy", "save")}
    assert settings == {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
    with cluster.valkey("broker").connect() as broker:
        settings = {key: broker.config_get(key)[key] for key in ("appendonly", "maxmemory-policy", "save")}
    assert settings == {"appendonly": "no", "maxmemory-policy": "volatile-lru", "save": ""}


def test_a_killed_primary_stays_down_until_it_is_started_and_has_what_it_committed(cluster: LocalCluster):
    primary, replica = cluster.database("shard1a"), cluster.database("shard1b")
    put(primary, "before the kill")
    primary.kill()
    assert not primary.is_running
    with pytest.raises(NotReady):
        primary.wait_ready(within_seconds=0.5)
    wait_until(lambda: has(replica, "before the kill"))
    primary.start()
    primary.wait_ready()
    replica.wait_ready()
    assert has(primary, "before the kill")
    put(primary, "after the kill")
    wait_until(lambda: has(replica, "after the kill"))


def test_a_killed_log_server_has_every_acknowledged_write(cluster: LocalCluster):
    log = cluster.valkey("log")
    with log.connect() as client:
        written = [client.xadd("stream", {"n": n}) for n in range(100)]
    log.kill()
    log.start()
    log.wait_ready()
    with log.connect() as client:
        assert [position for position, _ in client.xrange("stream")] == written


@pytest.mark.parametrize("name", ["shard1a", "log"])
def test_a_paused_server_answers_nothing_until_it_is_resumed(cluster: LocalCluster, name: str):
    server = cluster.server(name)
    server.pause()
    try:
        assert server.is_running
        assert server.find_obstacle() is not None
    finally:
        server.resume()
    server.wait_ready()


def test_a_replica_that_was_down_catches_up(cluster: LocalCluster):
    primary, replica = cluster.database("shard1a"), cluster.database("shard1b")
    replica.stop()
    put(primary, "while it was down")
    replica.start()
    replica.wait_ready()
    wait_until(lambda: has(replica, "while it was down"))


def test_a_server_killed_from_outside_is_started_again(cluster: LocalCluster):
    for name in ("shard1a", "broker"):
        server = cluster.server(name)
        restarts, pid = server.restarts, server.pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda server=server, restarts=restarts: server.restarts == restarts + 1)
        server.wait_ready()
        assert server.pid != pid
    cluster.server("shard1b").wait_ready()


def test_a_replica_that_lost_its_slot_is_copied_anew(cluster: LocalCluster):
    primary, replica = cluster.database("shard1a"), cluster.database("shard1b")
    replica.stop()
    put(primary, "never streamed")
    with primary.connect(user="postgres") as connection:
        connection.execute("SELECT pg_drop_replication_slot('shard1b')")
    cluster.start_servers()
    assert has(replica, "never streamed")
    assert replica.find_obstacle() is None
