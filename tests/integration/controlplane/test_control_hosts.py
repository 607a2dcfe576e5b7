"""A control database on two hosts, and passwords that change. The servers are a primary and its replica."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import OperationalError, connections
from psycopg.conninfo import make_conninfo

from configservice.topology.password_refs import PasswordRefRules
from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.localcluster.spec import SERVICE_ROLE, SUPERUSER_ROLE
from shardproxy.connection import Purpose, connect_with_any
from shardproxy.dedicated_connection import DedicatedConnection
from shardproxy.settings import PoolSettings
from tests.clusters import run_cluster
from tests.integration.shardproxy.servers import Servers
from tests.pace import limit
from tests.waiting import wait_until
from viewcounter.config.reading import SecretFile
from viewcounter.controlplane.postgresql.base import DatabaseWrapper

WAIT_SECONDS = 1.0
CONNECT_SECONDS = 2


@pytest.fixture(scope="module")
def cluster(django_db_blocker) -> Iterator[LocalCluster]:
    with (
        run_cluster(spec=ClusterSpec(shards=1, partitions=4), start=LocalCluster.start_servers) as cluster,
        django_db_blocker.unblock(),
    ):
        yield cluster


@pytest.fixture
def password_file(cluster: LocalCluster, tmp_path: Path) -> Path:
    file = tmp_path / "viewcounter_control_database_password"
    file.write_text(cluster.state.get_secret("shard_password"))
    return file


@pytest.fixture
def open_control(cluster: LocalCluster, password_file: Path) -> Iterator[Callable[..., DatabaseWrapper]]:
    """Django's connection to the two hosts in the given order, as `viewcounter.settings` makes it."""
    opened = []
    secret = SecretFile(password_file, password_file.read_text())

    def open_one(*names: str) -> DatabaseWrapper:
        servers = [cluster.database(name) for name in names]
        default = connections["default"].settings_dict
        settings = default | {
            "HOST": ",".join("127.0.0.1" for _ in servers),
            "PORT": ",".join(str(server.port) for server in servers),
            "NAME": servers[0].database,
            "USER": SERVICE_ROLE,
            "READ_PASSWORD": secret.get_secret_value,
            "WAIT_SECONDS": WAIT_SECONDS,
            "OPTIONS": {"connect_timeout": CONNECT_SECONDS},
        }
        opened.append(DatabaseWrapper(settings, alias="control"))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


def read_port(connection: DatabaseWrapper) -> int:
    """Of the server that answers. Raises OperationalError."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting::int FROM pg_settings WHERE name = 'port'")
        return int(cursor.fetchone()[0])


def test_of_several_hosts_the_one_that_takes_writes_is_used(cluster, open_control):
    primary = cluster.database("shard1a").port
    assert read_port(open_control("shard1a", "shard1b")) == primary
    assert read_port(open_control("shard1b", "shard1a")) == primary


def test_passwords_change_without_a_refused_connection(cluster, open_control, password_file):
    """Old and new in the file, then the role, then the new one alone; every step is followed by new connections."""
    old = password_file.read_text()
    shard_file = cluster.state.get_secret_path("shard_password")
    instance = Servers(cluster).get_instance("shard1a")
    settings = PoolSettings(password_refs=PasswordRefRules(directory=shard_file.parent))
    control = open_control("shard1a", "shard1b")
    kept = open_control("shard1a", "shard1b")
    read_port(kept)

    def connect_everywhere() -> None:
        control.close()
        read_port(control)
        read_port(kept)
        shard = DedicatedConnection(instance, settings, purpose=Purpose.HEALTH)
        assert shard.fetch("SELECT 1 AS one", timeout_seconds=limit(5)) == [{"one": 1}]
        shard.close()

    def write(*passwords: str) -> None:
        for file in (password_file, shard_file):
            file.chmod(0o600)
            file.write_text("\n".join(passwords) + "\n")

    def change_role(password: str) -> None:
        with cluster.database("shard1a").connect(user=SUPERUSER_ROLE) as connection:
            connection.execute(f"ALTER ROLE {SERVICE_ROLE} PASSWORD '{password}'")

    try:
        connect_everywhere()
        write(old, "the-new-one")
        connect_everywhere()
        change_role("the-new-one")
        connect_everywhere()
        write("the-new-one")
        connect_everywhere()
        write(old)
        control.close()
        with pytest.raises(OperationalError, match="password authentication failed"):
            read_port(control)
    finally:
        change_role(old)
        write(old)


def test_a_refusal_names_what_each_password_met(cluster):
    server = cluster.database("shard1a")

    def connect(password: str, _: float | None) -> psycopg.Connection:
        return psycopg.connect(
            make_conninfo(host="127.0.0.1", port=server.port, dbname=server.database, user=SERVICE_ROLE),
            password=password,
        )

    with pytest.raises(psycopg.OperationalError, match=r"authentication failed.*another of the passwords: .*failed"):
        connect_with_any("wrong\nwrong too", connect)


def test_a_frozen_host_is_waited_for_once_whatever_the_number_of_passwords(cluster, open_control, password_file):
    password_file.write_text(f"wrong\nwrong too\n{password_file.read_text()}")
    control, replica = open_control("shard1b", "shard1a"), cluster.database("shard1b")
    replica.pause()
    began_at = time.monotonic()
    try:
        assert read_port(control) == cluster.database("shard1a").port
    finally:
        replica.resume()
    assert CONNECT_SECONDS <= time.monotonic() - began_at < 2 * CONNECT_SECONDS


def test_a_frozen_primary_is_given_up_and_its_successor_found(cluster, open_control):
    """The frozen server stays first in the list: only the first connection waits for it."""
    kept, control = open_control("shard1a", "shard1b"), open_control("shard1a", "shard1b")
    read_port(kept)
    old, new = cluster.database("shard1a"), cluster.database("shard1b")
    old.pause()
    began_at = time.monotonic()
    with pytest.raises(OperationalError, match="no answer before the deadline"):
        read_port(kept)
    assert time.monotonic() - began_at >= WAIT_SECONDS
    with new.connect(user=SUPERUSER_ROLE) as connection:
        connection.execute("SELECT pg_promote()")

    def find_port() -> int | None:
        try:
            return read_port(kept)
        except OperationalError:  # not promoted yet
            kept.close()
            return None

    assert wait_until(find_port, what="the successor to be found") == new.port
    kept.close()
    assert kept.get_connection_params()["port"] == f"{new.port},{old.port}"
    assert read_port(kept) == new.port
    assert read_port(control) == new.port  # a wrapper that knows nothing yet waits once for the frozen one
