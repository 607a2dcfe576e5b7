"""One cluster of servers for all tests that need one: real PostgreSQL, real Valkey, prepared once for each run."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connections
from psycopg.rows import dict_row

from clusterproxy.proxy import ClusterProxy
from devtools.localcluster import LocalCluster
from devtools.localcluster.signing_key import SETTING, get_signing_key_path
from runtime.metric_files import FOLDER_VARIABLE
from tests.clusters import run_cluster, start_prepared_servers
from viewcounter.cache.process import find_read_cache
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config

# A test leaves few rows: deleting them costs 2 ms, truncating all tables on all copies 200 ms of CPU time.
NO_EVENTS = """
    DELETE FROM raw_event; DELETE FROM event_ids; DELETE FROM rollup_dirty; DELETE FROM ledger;
    DELETE FROM event_minute; DELETE FROM event_hour; DELETE FROM event_day; DELETE FROM event_total;
    DELETE FROM event_sketch; DELETE FROM sketch_due;
"""
NOTHING_ELSE = """
    DELETE FROM dead_letter; DELETE FROM event_conflict; DELETE FROM correction;
    DELETE FROM video; DELETE FROM channel; DELETE FROM catalogue_cursor;
    DELETE FROM deletion_clock; DELETE FROM worker; DELETE FROM watermark_request; DELETE FROM log_loss;
    DELETE FROM trim_mark;
"""


@pytest.fixture(scope="session")
def servers() -> Iterator[LocalCluster]:
    """Control database, two shards of a primary and a replica, log, broker; migrated, no applications.

    A test that stops or kills one of them starts it again; tests that break more use a cluster of their own.
    """
    with run_cluster(start=start_prepared_servers) as cluster:
        use_cluster(cluster)
        _common.append(cluster)
        yield cluster
        _common.clear()
        get_cluster().close()
        connections.close_all()


def _list_settings(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("VIEWCOUNTER_")}


_OUTER = _list_settings(os.environ)
_common: list[LocalCluster] = []
"""The cluster of `servers`, when it runs."""
_used: list[LocalCluster] = []
"""The cluster to which the settings point."""


SHARED = ("running_cluster", "local_cluster", "move_cluster")
"""Fixtures of clusters that tests of several files share."""


OWN = frozenset({"move_cluster", "lost_cluster"})
"""Fixtures of clusters to which the settings point while they are used."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first, so that workers end together; tests of one file, or of one cluster, run on one worker."""
    # A test module that imports the Celery application begins a process group of metrics here, and every process that
    # a test starts would join it.
    assert FOLDER_VARIABLE not in os.environ, f"{FOLDER_VARIABLE} is set: which test module imports viewcounter.celery?"
    if not config.option.only_long:
        items.sort(key=_rank)
    for item in items:
        if "static" in item.path.parts:
            continue  # each may run beside any other
        shared = next((name for name in SHARED if name in getattr(item, "fixturenames", ())), "")
        item.add_marker(pytest.mark.xdist_group(f"{item.path.parent}:{shared}" if shared else str(item.path)))


def _rank(item: pytest.Item) -> int:
    parts = item.path.parts
    return next((rank for rank, kind in enumerate(("static", "system", "integration")) if kind in parts), 3)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Restores the settings, which a test of another file may have pointed to a cluster that no longer exists."""
    fixtures = getattr(item, "fixturenames", ())
    if "servers" in fixtures and not OWN.intersection(fixtures) and _common and _common != _used:
        get_cluster().close()
        use_cluster(_common[0])


def use_cluster(cluster: LocalCluster) -> None:
    """Point this process's settings at a cluster that was started after they were read."""
    _used[:] = [cluster]
    for name in _list_settings(os.environ):
        del os.environ[name]
    os.environ.update(_OUTER | _list_settings(cluster.environment))
    os.environ[SETTING] = str(get_signing_key_path(cluster.state))  # tests publish, as a config service does
    get_config.cache_clear()
    get_cluster.cache_clear()
    find_read_cache.cache_clear()
    config = get_config()
    settings.CLUSTER_ID, settings.PASSWORD_REF_RULES = config.cluster.id, config.pool.password_refs
    settings.TOPOLOGY_PUBLIC_KEYS = config.cluster.topology_public_keys
    settings.TOPOLOGY_SIGNING_KEY_FILE = config.configservice.signing_key_file
    settings.TOPOLOGY_CACHE_URL = config.cache.url.get_secret_value()
    connections.close_all()
    connections["default"].settings_dict.update(
        HOST=config.control_database.host,
        PORT=config.control_database.port,
        NAME=config.control_database.name,
        USER=config.control_database.user,
        PASSWORD=config.control_database.password.get_secret_value(),
        READ_PASSWORD=config.control_database.password.get_secret_value,
    )


@pytest.fixture
def clean_cluster(servers: LocalCluster) -> ClusterProxy:
    """A cluster proxy on shards without events; every partition is owned and at the start of the log."""
    return empty_shards()


def empty_shards() -> ClusterProxy:
    cluster = get_cluster()
    for shard in cluster.topology.shards:
        with cluster.shard_transaction(shard.id) as connection:
            connection.execute(NO_EVENTS)
            connection.execute(NOTHING_ELSE)
            connection.execute(
                "UPDATE partition_state SET position = DEFAULT, watermark = DEFAULT, rolled_through = DEFAULT,"
                " log_term = DEFAULT, log_session = DEFAULT, producers = DEFAULT, lost = DEFAULT,"
                " admits_since = DEFAULT, minutes_since = DEFAULT, hours_since = DEFAULT, state = DEFAULT, epoch = 1,"
                " stop_reason = DEFAULT, stop_detail = DEFAULT, stopped_at = DEFAULT, resumed_by = DEFAULT,"
                " window_started_at = DEFAULT, window_read = DEFAULT, window_dead = DEFAULT, dead_run = DEFAULT,"
                " dead_letter_allowance = DEFAULT, move_token = DEFAULT, maintenance_held_until = DEFAULT,"
                " raw_since = DEFAULT, generation = DEFAULT, owner = DEFAULT"
            )
    return cluster


@pytest.fixture
def shard_connection(clean_cluster: ClusterProxy) -> Iterator[psycopg.Connection]:
    """An autocommit connection to the primary of partition 3's shard, which is empty."""
    with connect_to_shard(clean_cluster) as connection:
        yield connection


@contextmanager
def connect_to_shard(cluster: ClusterProxy) -> Iterator[psycopg.Connection]:
    primary = cluster.topology.get_shard_of(3).primary
    password = Path(primary.password_ref.removeprefix("file:")).read_text().strip()
    with psycopg.connect(
        host=primary.host,
        port=primary.port,
        dbname=primary.database,
        user=primary.user,
        password=password,
        autocommit=True,
        row_factory=dict_row,
    ) as connection:
        yield connection
