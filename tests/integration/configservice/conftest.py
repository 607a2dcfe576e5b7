"""The config service on a control database and a cache of its own, both on the session's servers.

The session's cluster proxy polls the control database of this process, so it is closed while that is another one.
"""

import json
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.test import Client
from psycopg import sql

from configservice.failover.records import Failover
from configservice.models import (
    Cluster,
    EventType,
    Instance,
    Leadership,
    Move,
    PartitionAssignment,
    Shard,
    TopologyEpoch,
)
from configservice.topology.cluster_cache import ClusterCache
from configservice.topology.model import Topology
from configservice.topology.publication import read_from_control_database
from devtools.localcluster import LocalCluster
from devtools.localcluster.spec import SERVICE_ROLE, SUPERUSER_ROLE
from tests.conftest import use_cluster
from viewcounter.cluster import get_cluster

DATABASE = "configservice_test"
CACHE_NUMBER = 7
CLUSTER_ID = "5c1f3d0e-2b64-4f0e-8a53-6d1b7f9f2a10"


@pytest.fixture(scope="package")
def _own_control_database(servers: LocalCluster, django_db_blocker):
    get_cluster().close()
    default = connections["default"]
    with servers.database("control").connect(user=SUPERUSER_ROLE, database="postgres") as connection:
        create = "CREATE DATABASE {} OWNER {}"
        connection.execute(sql.SQL(create).format(sql.Identifier(DATABASE), sql.Identifier(SERVICE_ROLE)))
    with django_db_blocker.unblock():
        default.close()
        default.settings_dict["NAME"] = DATABASE
        call_command("migrate", verbosity=0)
        yield
        # A cluster proxy that was used meanwhile has read this database and its cache: no later test may get it.
        get_cluster().close()
        use_cluster(servers)
    with servers.database("control").connect(user=SUPERUSER_ROLE, database="postgres") as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(DATABASE)))


@pytest.fixture
def cache_url(servers: LocalCluster):
    """A cache of its own beside the session's."""
    return servers.environment["VIEWCOUNTER_CACHE_URL"].rsplit("/", 1)[0] + f"/{CACHE_NUMBER}"


@pytest.fixture
def cluster_cache(cache_url) -> ClusterCache:
    """The part of the cluster that `init_cluster` makes."""
    return ClusterCache(cache_url, CLUSTER_ID)


@pytest.fixture
def control(_own_control_database, django_db_blocker, cache_url, settings):
    """Empty tables, an empty cache."""
    settings.TOPOLOGY_CACHE_URL = cache_url
    settings.CLUSTER_ID = CLUSTER_ID
    with django_db_blocker.unblock():
        tables = (TopologyEpoch, Cluster, Failover, Leadership, Move, PartitionAssignment, Instance, Shard, EventType)
        for model in (*tables, User):
            model.objects.all().delete()
        yield


@pytest.fixture
def admin_client(control) -> Client:
    User.objects.create_superuser("ada", password="correct horse battery")
    client = Client()
    assert client.login(username="ada", password="correct horse battery")
    return client


def read_topology() -> Topology:
    """As published last."""
    return read_from_control_database().decode()


def describe_instance(name: str, role: str, port: int, **more) -> dict:
    return {
        "name": name,
        "role": role,
        "host": "127.0.0.1",
        "port": port,
        "database": "counts",
        "user": "viewcounter",
        "password_ref": "env:VIEWCOUNTER_SHARD_PASSWORD",
        "zone": "local",
        **more,
    }


def describe_cluster() -> dict:
    """Two shards of a primary and a replica: shard1a 5001, shard1b 5002, shard2a 5003, shard2b 5004."""
    return {
        "shards": [
            {
                "name": f"shard{n}",
                "instances": [
                    describe_instance(f"shard{n}a", "primary", 4999 + 2 * n),
                    describe_instance(f"shard{n}b", "replica", 5000 + 2 * n),
                ],
            }
            for n in (1, 2)
        ]
    }


@pytest.fixture
def init_cluster(control, tmp_path: Path, capsys):
    """Runs the command on a description; returns its report."""

    def run(description: dict | None = None, *flags: str, partitions: int = 7) -> dict:
        path = tmp_path / "cluster.json"
        path.write_text(json.dumps(description or describe_cluster()))
        call_command("init_cluster", "--partitions", str(partitions), "--instances", str(path), "--json", *flags)
        return json.loads(capsys.readouterr().out)

    return run
