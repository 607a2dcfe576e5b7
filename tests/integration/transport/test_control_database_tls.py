"""Processes whose control database demands TLS."""

import sys
from collections.abc import Iterator

import pytest

from devtools.localcluster import LocalCluster
from tests import processes
from tests.tls import Authority, TlsFront, open_tls_front

START_SECONDS = 120.0
ASK_BOTH_KINDS = """
import django
django.setup()
from django.db import connection
from viewcounter.cluster import get_cluster
from viewcounter.storage.partitions import READ_STATES
for _ in range(2):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()
    get_cluster().scatter(READ_STATES, {})
get_cluster().close()
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def front(servers: LocalCluster, authority: Authority) -> Iterator[TlsFront]:
    port = int(servers.environment["VIEWCOUNTER_CONTROL_DATABASE_PORT"])
    with open_tls_front(authority.issue("server"), port, is_postgres=True) as front:
        yield front


def run(servers: LocalCluster, *arguments: str, **settings: str):
    environment = {**servers.environment, **settings}
    return processes.run([sys.executable, *arguments], environment=environment, within_seconds=START_SECONDS)


def test_the_control_database_is_asked_by_tls_before_and_after_a_shard(servers, authority, front):
    done = run(
        servers,
        "-c",
        ASK_BOTH_KINDS,
        VIEWCOUNTER_CONTROL_DATABASE_PORT=str(front.port),
        VIEWCOUNTER_CONTROL_DATABASE_SSLMODE="verify-full",
        VIEWCOUNTER_CONTROL_DATABASE_TLS_ROOT_CERTIFICATE=str(authority.root),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert front.accepted >= 2


def test_a_control_database_without_tls_is_refused_where_tls_is_demanded(servers, authority):
    done = run(
        servers,
        "-c",
        ASK_BOTH_KINDS,
        VIEWCOUNTER_CONTROL_DATABASE_SSLMODE="verify-full",
        VIEWCOUNTER_CONTROL_DATABASE_TLS_ROOT_CERTIFICATE=str(authority.root),
    )
    assert done.returncode == 1
    assert "server does not support SSL, but SSL was required" in done.stderr


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"PGSSLMODE": "verify-full", "PGOPTIONS": "-c search_path=x"}, "PGOPTIONS, PGSSLMODE: libpq would use this"),
        (
            {"VIEWCOUNTER_CONTROL_DATABASE_HOST": "db.example"},
            "VIEWCOUNTER_CONTROL_DATABASE_SSLMODE: sslmode prefer to db.example could drop TLS silently",
        ),
    ],
)
def test_settings_that_could_drop_tls_stop_a_process_at_boot(servers, settings, reason):
    done = run(servers, "manage.py", "check", **settings)
    assert done.returncode == 1
    assert reason in done.stderr
