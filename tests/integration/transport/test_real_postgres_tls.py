"""A real PostgreSQL with TLS, SCRAM with channel binding, and client certificates.

The wheel's PostgreSQL is built without TLS, so this runs where one that has it is installed.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from configservice.topology.model import Instance, Role
from devtools.localcluster import ClusterSpec, run_temporary_cluster
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.spec import SERVICE_ROLE, SUPERUSER_ROLE
from shardproxy.connection import Purpose
from shardproxy.dedicated_connection import DedicatedConnection
from shardproxy.errors import InstanceUnavailable
from shardproxy.settings import PoolSettings
from shardproxy.tls import TlsFiles
from tests.integration.shardproxy.limits import ANY_FILE
from tests.pace import limit
from tests.tls import Authority
from tests.waiting import wait_until

pytestmark = pytest.mark.long(minutes=1)

PLACES = sorted(Path("/usr/lib/postgresql").glob("1[5-9]/bin/postgres"))
ANSWER_SECONDS = limit(10.0)
WHO = "SELECT ssl, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[PostgresServer]:
    """Takes TLS connections only; of the role `viewcounter` with a certificate of its name."""
    if not PLACES:
        pytest.skip("NOT TRIED: no PostgreSQL with TLS in /usr/lib/postgresql (Debian: apt-get install postgresql)")
    spec = ClusterSpec(shards=1, replicas_per_shard=0, partitions=4, postgres_bin_dir=PLACES[-1].parent)
    with run_temporary_cluster(spec=spec) as cluster:
        cluster.start_servers()
        server = cluster.database("shard1a")
        demand_tls(server, authority)
        yield server


def demand_tls(server: PostgresServer, authority: Authority) -> None:
    identity = authority.issue("server")
    files = {"server.crt": identity.certificate, "server.key": identity.key, "root.crt": authority.root}
    owner = server.data_dir.stat()
    for name, source in files.items():
        path = server.data_dir / name
        path.write_bytes(source.read_bytes())
        path.chmod(0o600)
        os.chown(path, owner.st_uid, owner.st_gid)
    (server.data_dir / "pg_hba.conf").write_text(
        f"hostssl all {SERVICE_ROLE} 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n"
        f"host all {SUPERUSER_ROLE} 127.0.0.1/32 scram-sha-256\n"
    )
    with server.connect(user=SUPERUSER_ROLE) as connection:
        connection.execute("ALTER SYSTEM SET ssl = on")
        connection.execute("ALTER SYSTEM SET ssl_ca_file = 'root.crt'")
        connection.execute("SELECT pg_reload_conf()")
        wait_until(lambda: connection.execute("SHOW ssl").fetchone() == ("on",), what="TLS")


def ask(server: PostgresServer, files: TlsFiles, *, sslmode: str = "verify-full") -> dict[str, object]:
    instance = Instance(
        name="shard1a",
        role=Role.PRIMARY,
        host="127.0.0.1",
        port=server.port,
        database=server.database,
        user=SERVICE_ROLE,
        password_ref=f"file:{server.data_dir.parents[1] / 'secrets' / 'instances' / 'shard_password'}",
        sslmode=sslmode,
    )
    settings = PoolSettings(password_refs=ANY_FILE, tls=files)
    with closing(DedicatedConnection(instance, settings, purpose=Purpose.HEALTH)) as connection:
        return connection.fetch(WHO, timeout_seconds=ANSWER_SECONDS)[0]


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
def test_a_certificate_and_a_password_let_us_in_by_tls(server, authority, sslmode):
    client = authority.issue(SERVICE_ROLE)
    files = TlsFiles(str(authority.root), str(client.certificate), str(client.key))
    assert ask(server, files, sslmode=sslmode) == {"ssl": True, "client_dn": f"/CN={SERVICE_ROLE}"}


def test_a_certificate_of_another_name_does_not(server, authority):
    client = authority.issue("somebody")
    files = TlsFiles(str(authority.root), str(client.certificate), str(client.key))
    with pytest.raises(InstanceUnavailable, match="authentication failed"):
        ask(server, files)


def test_no_certificate_does_not(server, authority):
    with pytest.raises(InstanceUnavailable, match=r"certificate required|valid client certificate"):
        ask(server, TlsFiles(str(authority.root)))


def test_a_server_of_another_authority_is_not_believed(server, tmp_path):
    with pytest.raises(InstanceUnavailable, match="certificate verify failed"):
        ask(server, TlsFiles(str(Authority(tmp_path, "impostor").root)))


def test_plain_text_is_not_taken_by_the_server(server):
    with pytest.raises(InstanceUnavailable, match="no encryption"):
        ask(server, TlsFiles(), sslmode="disable")
