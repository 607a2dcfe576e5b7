"""Connections to instances that demand TLS, and to impostors."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from configservice.topology.model import Instance
from shardproxy.connection import Purpose
from shardproxy.dedicated_connection import DedicatedConnection
from shardproxy.errors import InstanceUnavailable
from shardproxy.settings import PoolSettings
from shardproxy.tls import TlsFiles
from tests.integration.shardproxy.limits import ANY_FILE
from tests.integration.shardproxy.servers import Servers
from tests.pace import limit
from tests.tls import Authority, open_tls_front

AUTHENTICATION_CLEARTEXT_PASSWORD = b"R" + (8).to_bytes(4, "big") + (3).to_bytes(4, "big")
ANSWER_SECONDS = limit(10.0)


@pytest.fixture
def instance(shard_servers: Servers) -> Instance:
    return shard_servers.get_instance("shard1a")


def query(instance: Instance, files: TlsFiles, **changes: object) -> int:
    settings = PoolSettings(password_refs=ANY_FILE, tls=files)
    changed = msgspec.structs.replace(instance, **changes)
    with closing(DedicatedConnection(changed, settings, purpose=Purpose.HEALTH)) as connection:
        return connection.fetch("SELECT 7 AS number", timeout_seconds=ANSWER_SECONDS)[0]["number"]


@pytest.mark.parametrize("sslmode", ["prefer", "require", "verify-ca", "verify-full"])
def test_an_instance_that_demands_tls_is_asked_by_it(instance, tmp_path, sslmode):
    authority = Authority(tmp_path)
    files = TlsFiles(root_certificate=str(authority.root))
    with open_tls_front(authority.issue("server"), instance.port, is_postgres=True) as front:
        assert query(instance, files, port=front.port, sslmode=sslmode) == 7
        assert front.accepted == 1


@pytest.mark.parametrize("sslmode", ["verify-ca", "verify-full"])
def test_a_certificate_of_another_authority_is_refused(instance, tmp_path, sslmode):
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    files = TlsFiles(root_certificate=str(ours.root))
    with (
        open_tls_front(theirs.issue("server"), instance.port, is_postgres=True) as front,
        pytest.raises(InstanceUnavailable, match="certificate verify failed"),
    ):
        query(instance, files, port=front.port, sslmode=sslmode)


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
def test_a_server_without_tls_is_refused(instance, tmp_path, sslmode):
    files = TlsFiles(root_certificate=str(Authority(tmp_path).root))
    with pytest.raises(InstanceUnavailable, match="server does not support SSL, but SSL was required"):
        query(instance, files, sslmode=sslmode)


def test_a_client_certificate_is_shown_to_a_server_that_asks_for_one(instance, tmp_path):
    authority = Authority(tmp_path)
    server, client = authority.issue("server"), authority.issue("client")
    files = TlsFiles(str(authority.root), str(client.certificate), str(client.key))
    with open_tls_front(server, instance.port, is_postgres=True, clients=authority.root) as front:
        assert query(instance, files, port=front.port, sslmode="verify-full") == 7
        # TLS 1.3 tells a client after its handshake: by the alert, or by the connection that is closed behind it.
        with pytest.raises(InstanceUnavailable, match=r"SSL error|server closed the connection unexpectedly"):
            query(instance, TlsFiles(str(authority.root)), port=front.port, sslmode="verify-full")


def test_tls_that_is_optional_to_another_machine_is_refused_before_it_is_asked(instance):
    with pytest.raises(InstanceUnavailable, match=r"sslmode prefer to db\.example could drop TLS silently"):
        query(instance, TlsFiles(), host="db.example", sslmode="prefer")


@pytest.mark.parametrize("sslmode", ["disable", "prefer"])
def test_an_impostor_that_asks_for_the_password_does_not_get_it(instance, sslmode):
    with run_impostor() as (port, received), pytest.raises(InstanceUnavailable, match="scram-sha-256"):
        query(instance, TlsFiles(), port=port, sslmode=sslmode)
    password = Path(instance.password_ref.removeprefix("file:")).read_bytes().strip()
    assert password not in b"".join(received)
    assert b"viewcounter" in b"".join(received)  # it did come as far as the start-up message


@contextmanager
def run_impostor() -> Iterator[tuple[int, list[bytes]]]:
    """Has no TLS, and asks for the password in clear."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.settimeout(ANSWER_SECONDS)
                while data := connection.recv(4096):
                    received.append(data)
                    is_ssl_request = len(data) == 8
                    connection.sendall(b"N" if is_ssl_request else AUTHENTICATION_CLEARTEXT_PASSWORD)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], received
        thread.join()
