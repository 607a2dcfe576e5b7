"""The control database and a primary are lost and rebuilt under load: no post fails, and counts are exact."""

import time

import pytest
from django.db import connections

from configservice.registry.services import ServiceState
from devtools.localcluster import LocalCluster
from devtools.localcluster.spec import CONTROL_DATABASE, SERVICE_ROLE, SUPERUSER_ROLE
from tests.system.conftest import clear_events
from tests.system.exactness import assert_exactly_acknowledged
from tests.system.failing_over import get_shard, make_whole
from tests.system.steady_load import post_steadily
from tests.waiting import wait_until
from viewcounter.cluster import get_cluster
from viewcounter.health.registration import find_services

pytestmark = [pytest.mark.system, pytest.mark.long(minutes=1)]

WARM_SECONDS = 1.5


@pytest.fixture
def cluster(shared_cluster: LocalCluster, django_db_blocker):
    with django_db_blocker.unblock():
        yield shared_cluster
        make_whole(shared_cluster)


def fail_over_by_hand(cluster, old, new):
    """As a config service would, but no control database learns of it."""
    cluster.server(old).kill()
    with cluster.database(new).connect(user=SUPERUSER_ROLE) as connection:
        assert connection.execute("SELECT pg_promote(true, 30)").fetchone() == (True,)
    with cluster.database(new).connect() as connection:
        connection.execute("UPDATE shard_identity SET term = term + 1")


def find_epochs():
    """Of every living process, by the service registry."""
    found = [registered.service for registered in find_services() or ()]
    return {service.epoch for service in found if service.state not in (ServiceState.LOST, ServiceState.STOPPING)}


def get_newest_epoch():
    get_cluster().refresh_topology()
    return get_cluster().topology.epoch


def test_control_database_is_rebuilt_under_load_and_every_process_takes_the_result(cluster):
    key = cluster.run_command("create_api_key", "rebuilt", "--scopes", "events:write", "--quiet").strip()
    clear_events()
    before, shard = get_cluster().topology, get_shard("shard1")
    old, new = shard.primary.name, shard.replicas[0].name
    with post_steadily(cluster, key, seed=14) as load:
        time.sleep(WARM_SECONDS)
        for name in ("configservice1", "configservice2"):
            cluster.application(name).stop()
        connections.close_all()
        with cluster.database("control").connect(user=SUPERUSER_ROLE, database="postgres") as connection:
            connection.execute(f"DROP DATABASE {CONTROL_DATABASE} WITH (FORCE)")
            fail_over_by_hand(cluster, old, new)
            connection.execute(f"CREATE DATABASE {CONTROL_DATABASE} OWNER {SERVICE_ROLE}")
        cluster.run_command("migrate", "--verbosity", "0")
        time.sleep(WARM_SECONDS)  # gateways look up keys in the empty database
        shown = cluster.run_command("restore_topology", "--apply", signs=True)
        assert "API keys: " in shown
        for name in ("configservice1", "configservice2"):
            cluster.application(name).start()
        wait_until(lambda: get_shard("shard1").primary.name == new, what="the new primary to be published")
        assert get_cluster().topology.generation == before.generation + 1
        time.sleep(WARM_SECONDS)
    assert_exactly_acknowledged(load, story=f"answers {load.statuses}")
    assert set(load.statuses) == {"202"}
    make_whole(cluster)
    wait_until(lambda: find_epochs() - {None} == {get_newest_epoch()}, what="every process at the newest epoch")
    assert get_cluster().topology.cluster_id == before.cluster_id
    assert get_shard("shard1").term == shard.term + 1
    assert get_cluster().topology.epoch > before.epoch
