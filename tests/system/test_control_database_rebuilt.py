"""The control database is lost with its disk under load, a primary too, and both come back: no post and no read fails.

Meanwhile every gateway and worker process is replaced again and again. VIEWCOUNTER_TEST_OUTAGE_SECONDS: for how long.
"""

import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.db import connections

from devtools.localcluster import LocalCluster
from devtools.localcluster.member import Member
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.postgres_seed import seed_primary
from devtools.localcluster.spec import SUPERUSER_ROLE
from tests.system.conftest import clear_events
from tests.system.exactness import assert_exactly_acknowledged
from tests.system.failing_over import find_epochs, get_newest_epoch, get_primary, get_shard, make_whole
from tests.system.steady_load import post_steadily, read_steadily
from tests.waiting import wait_until
from viewcounter.cluster import get_cluster

pytestmark = [pytest.mark.system, pytest.mark.long(minutes=2)]

logger = logging.getLogger(__name__)

WARM_SECONDS = 1.5
OUTAGE_SECONDS = float(os.environ.get("VIEWCOUNTER_TEST_OUTAGE_SECONDS", "8"))
RESTART_SECONDS = 3.0


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


def replace_gateway_processes(web: Member) -> None:
    """Each ends when its requests are answered; new ones take the next."""
    replaced = set(web.list_child_pids())
    os.kill(web.pid, signal.SIGHUP)
    wait_until(lambda: not replaced & set(web.list_child_pids()), what="every gateway process to be replaced")


@contextmanager
def restarting(cluster) -> Iterator[None]:
    """Every worker process is killed and every gateway process replaced, again and again."""
    stop = threading.Event()

    def restart() -> None:
        worker, web = cluster.application("worker"), cluster.application("web")
        while not stop.is_set():
            worker.kill()
            worker.start()
            replace_gateway_processes(web)
            worker.wait_ready()
            stop.wait(RESTART_SECONDS)

    with ThreadPoolExecutor(max_workers=1) as pool:
        restarts = pool.submit(restart)
        try:
            yield
        finally:
            stop.set()
            restarts.result()


def lose_with_its_disk(server: PostgresServer) -> None:
    server.kill()
    shutil.rmtree(server.data_dir)


def make_empty(cluster, server: PostgresServer) -> None:
    seed_primary(server, superuser_password=cluster.state.get_secret("postgres_password"))
    server.start()
    server.wait_ready()
    server.ensure_database()
    connections.close_all()
    cluster.run_command("migrate", "--verbosity", "0")


def move_one(cluster, source: str, target: str) -> None:
    shard_id = get_shard(target).id
    before = len(get_cluster().topology.get_partitions_of(shard_id))
    cluster.run_command("move_partitions", "--from", source, "--to", target, "--count", "1", "--yes")
    get_cluster().refresh_topology()
    assert len(get_cluster().topology.get_partitions_of(shard_id)) == before + 1


def test_control_database_is_rebuilt_under_load_and_every_process_takes_the_result(cluster):
    key = cluster.run_command("create_api_key", "rebuilt", "--scopes", "events:write,stats:read", "--quiet").strip()
    clear_events()
    control = cluster.database("control")
    before, shard = get_cluster().topology, get_shard("shard1")
    old, new = shard.primary.name, shard.replicas[0].name
    epochs = [before.epoch]
    with post_steadily(cluster, key, seed=14) as load, read_steadily(cluster, key) as readers:
        time.sleep(WARM_SECONDS)
        lose_with_its_disk(control)
        with restarting(cluster):
            time.sleep(OUTAGE_SECONDS)
        for name in ("configservice1", "configservice2"):
            cluster.application(name).stop()
        fail_over_by_hand(cluster, old, new)
        make_empty(cluster, control)
        time.sleep(WARM_SECONDS)  # gateways look up keys in the empty database
        shown = cluster.run_command("restore_topology", "--apply", signs=True)
        assert "API keys: " in shown
        for name in ("configservice1", "configservice2"):
            cluster.application(name).start()
        wait_until(lambda: get_shard("shard1").primary.name == new, what="the new primary to be published")
        assert get_cluster().topology.generation == before.generation + 1
        epochs.append(get_newest_epoch())
        make_whole(cluster)
        cluster.server(new).kill()  # from here on config services fail over, and movers move
        wait_until(lambda: get_primary("shard1") == old, what="a failover after the rebuild")
        make_whole(cluster)
        epochs.append(get_newest_epoch())
        move_one(cluster, "shard2", "shard1")
        move_one(cluster, "shard1", "shard2")
        epochs.append(get_newest_epoch())
        time.sleep(WARM_SECONDS)
    story = f"posts {dict(load.statuses)}, reads {readers.answered}, failed {readers.failed}, epochs {epochs}"
    logger.info("%d events, %s", len(load.acknowledged), story)
    assert_exactly_acknowledged(load, story=story)
    assert (set(load.statuses), readers.failed) == ({"202"}, []), story
    wait_until(lambda: find_epochs() - {None} == {get_newest_epoch()}, what="every process at the newest epoch")
    assert get_cluster().topology.cluster_id == before.cluster_id
    assert get_shard("shard1").term == shard.term + 2
    assert epochs == sorted(set(epochs)), story
