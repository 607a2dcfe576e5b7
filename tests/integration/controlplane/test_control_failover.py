"""The control database is a primary and its replica, and the primary is lost: leases, signers and commands follow.

The replica is promoted by the test, as whatever keeps the hosts of a control database would.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest
from django.db import DatabaseError, connections

from configservice.failover.lease import Lease
from configservice.models import Leadership, TopologyEpoch
from configservice.topology.publication import publish
from configservice.topology.signing import read_signing_key
from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.signing_key import get_signing_key_path
from devtools.localcluster.spec import SERVICE_ROLE, SHARD_DATABASE, SUPERUSER_ROLE
from tests.clusters import run_cluster, start_prepared_servers
from tests.conftest import use_cluster
from tests.pace import limit
from tests.waiting import wait_until
from viewcounter.apikeys.models import ApiKey
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.controlplane.config_service import build_topology_signer, format_holder, open_control_connection

pytestmark = pytest.mark.long(minutes=1)

CALL_SECONDS = limit(1.0)
LEASE_SECONDS = limit(2.0)
SMALL = ClusterSpec(shards=1, partitions=4)


def kill(primary: PostgresServer) -> None:
    primary.kill()


def freeze(primary: PostgresServer) -> None:
    primary.pause()


def demote(primary: PostgresServer) -> None:
    """It stays up and takes no writes; sessions that are open stay."""
    with primary.connect(user=SUPERUSER_ROLE) as connection:
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture
def pair() -> Iterator[LocalCluster]:
    """Used only for the two servers of its shard."""
    with run_cluster(spec=SMALL, start=LocalCluster.start_servers) as pair:
        yield pair


@pytest.fixture
def cluster(pair: LocalCluster, django_db_blocker) -> Iterator[LocalCluster]:
    """Its control database is on the servers of `pair`."""
    hosts = [pair.database(name) for name in ("shard1a", "shard1b")]
    settings = {
        "HOST": ",".join("127.0.0.1" for _ in hosts),
        "PORT": ",".join(str(server.port) for server in hosts),
        "NAME": SHARD_DATABASE,
        "USER": SERVICE_ROLE,
        "PASSWORD": pair.state.get_secret("shard_password"),
        "QUERY_SECONDS": "2",
        "SILENCE_SECONDS": "1",
    }
    given = {f"VIEWCOUNTER_CONTROL_DATABASE_{name}": value for name, value in settings.items()}
    with (
        run_cluster(spec=SMALL, settings=given, start=start_prepared_servers) as cluster,
        django_db_blocker.unblock(),
    ):
        use_cluster(cluster)
        yield cluster
        get_cluster().close()
        connections.close_all()


@contextmanager
def signing() -> Iterator[None]:
    signer = build_topology_signer(get_config())
    signer.start()
    try:
        yield
    finally:
        signer.close()


def open_lease(number: int) -> Lease:
    connect = partial(open_control_connection, config=get_config(), call_seconds=CALL_SECONDS)
    holder = format_holder(f"host{number}", number)
    return Lease(connect, holder=holder, lease_seconds=LEASE_SECONDS, call_seconds=CALL_SECONDS)


def promote(replica: PostgresServer) -> None:
    with replica.connect(user=SUPERUSER_ROLE) as connection:
        assert connection.execute("SELECT pg_promote(true, 30)").fetchone() == (True,)


def find_port() -> int | None:
    """Of the host that Django's connection of this process uses; None while there is none."""
    connections.close_all()
    with suppress(DatabaseError), connections["default"].cursor() as cursor:
        cursor.execute("SELECT setting::int FROM pg_settings WHERE name = 'port'")
        return int(cursor.fetchone()[0])
    return None


def is_signed(epoch: int, key_id: str) -> bool:
    return key_id in TopologyEpoch.objects.get(epoch=epoch).signatures


@pytest.mark.parametrize("lose", [kill, freeze, demote])
def test_everything_follows_the_control_database_to_another_host(
    cluster: LocalCluster, pair: LocalCluster, tmp_path: Path, lose: Callable[[PostgresServer], None]
):
    primary, replica = pair.database("shard1a"), pair.database("shard1b")
    lease, key_id = open_lease(1), read_signing_key(get_signing_key_path(cluster.state)).id
    with signing():
        assert lease.hold()
        generation = lease.leader_generation
        before = TopologyEpoch.objects.latest("epoch").epoch
        wait_until(lambda: is_signed(before, key_id), what="the topology to be signed on the first host")
        lose(primary)
        promote(replica)
        wait_until(lambda: find_port() == replica.port, what="Django on the other host")
        wait_until(lease.hold, what="the lease on the other host")
        assert lease.leader_generation > generation
        assert Leadership.objects.get().holder == lease.holder
        token = cluster.run_command("create_api_key", "followed", "--scopes", "stats:read", "--quiet").strip()
        assert ApiKey.objects.get(name="followed").prefix in token
        published = publish(reason="after the failover", actor="test", above_epoch=before)
        wait_until(lambda: is_signed(published.epoch, key_id), what="the topology to be signed on the other host")
        said = cluster.run_command("backup_control", "--folder", str(tmp_path / "backups"), within_seconds=limit(60))
        assert f"verified, topology epoch {published.epoch}, " in said
    lease.release()
    if lose is demote:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), primary.connect() as connection:
            connection.execute("UPDATE configservice_leadership SET holder = ''")
