"""Log, broker and cache behind TLS, with users: verified by default, in whatever library the address is used."""

from collections.abc import Iterator

import kombu.exceptions
import pytest
import redis
from celery import Celery

from tests.contracts.log_server import LogServer
from tests.pace import limit
from tests.tls import Authority, open_tls_front
from viewcounter.config.broker_tls import split_broker_url
from viewcounter.eventlog.errors import EventLogError
from viewcounter.eventlog.interface import START
from viewcounter.eventlog.redis_streams import RedisEventLog


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def address(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Without parameters."""
    server = LogServer(tmp_path_factory.mktemp("valkey") / "data")
    server.start()
    with server.connect() as client:
        client.execute_command("ACL SETUSER counter on >s3cret allkeys allchannels allcommands")
        client.execute_command("ACL SETUSER default off")
    with open_tls_front(authority.issue("server"), server.port, is_postgres=False) as front:
        yield f"rediss://counter:s3cret@127.0.0.1:{front.port}/0"
    server.kill()


def open_log(url: str) -> RedisEventLog:
    return RedisEventLog(url, timeout_seconds=5.0)


def connect_broker(url: str) -> None:
    address, tls = split_broker_url(url)
    with Celery(broker=address, broker_use_ssl=tls).connection() as connection:
        connection.ensure_connection(max_retries=1, timeout=limit(5), interval_start=0)


def test_the_log_is_reached_by_tls_as_a_user(authority: Authority, address: str) -> None:
    log = open_log(f"{address}?ssl_ca_certs={authority.root}")
    result = log.append({3: b"entry"})
    assert [entry.payload for entry in log.read(3, after=START, max_entries=10)] == [b"entry"]
    assert set(result.positions) == {3}
    log.close()


def test_a_log_with_a_certificate_of_another_authority_is_refused(address: str, tmp_path) -> None:
    log = open_log(f"{address}?ssl_ca_certs={Authority(tmp_path).root}")
    with pytest.raises(EventLogError, match="CERTIFICATE_VERIFY_FAILED"):
        log.read(3, after=START, max_entries=10)
    log.close()


def test_the_broker_is_reached_by_tls_as_a_user(authority: Authority, address: str) -> None:
    connect_broker(f"{address}?ssl_ca_certs={authority.root}")


@pytest.mark.parametrize("is_named", [True, False], ids=["another authority", "no authority named"])
def test_a_broker_that_cannot_be_verified_is_refused(address: str, tmp_path, is_named: bool) -> None:
    url = f"{address}?ssl_ca_certs={Authority(tmp_path).root}" if is_named else address
    with pytest.raises(kombu.exceptions.OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
        connect_broker(url)


def test_plain_text_to_a_server_that_demands_tls_is_an_error(address: str) -> None:
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(address.replace("rediss://", "redis://"), retry=None, socket_timeout=limit(5)).ping()
