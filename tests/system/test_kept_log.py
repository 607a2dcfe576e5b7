"""A replica is lost permanently: events are still accepted, and the replica is not promoted without those it lacks."""

import secrets
from uuid import uuid4

import pytest
import urllib3

from configservice.models import Instance, LogLoss
from devtools.localcluster import ClusterSpec
from devtools.localcluster.errors import ProgramFailed
from tests.clusters import SELDOM, run_cluster
from tests.conftest import use_cluster
from tests.pace import limit
from tests.system.exactness import read_shards
from tests.system.failing_over import get_primary
from tests.unit.ingest.builders import make_event
from tests.waiting import wait_until
from viewcounter.cluster import get_cluster

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

SPEC = ClusterSpec(shards=1, replicas_per_shard=1, partitions=4, web_workers=1)
SETTINGS = SELDOM | {
    "VIEWCOUNTER_TRIM_INTERVAL_SECONDS": "1",
    "VIEWCOUNTER_TRIM_SAFETY_SECONDS": "1",
    "VIEWCOUNTER_CONFIGSERVICE_LOG_KEEP_SHARE": "0.1",
}
ROOM_BYTES = 2_000_000
RESERVE_BYTES = 600_000
BATCH = 1000
VIDEO_ID_LENGTH = 64


class Service:
    """Posts events of distinct videos, whose names fill the log, and reads their counts."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.accepted = 0
        self._keys = {
            scope: cluster.run_command("create_api_key", scope[:5], "--scopes", scope, "--quiet").strip()
            for scope in ("events:write", "admin")
        }
        self._pool = urllib3.PoolManager(retries=False, timeout=limit(10))

    def post(self):
        """Each must be taken. Returns the least that it takes of the log, in bytes."""
        videos = [secrets.token_hex(VIDEO_ID_LENGTH // 2) for _ in range(BATCH)]
        events = [make_event(video_id=video, event_id=str(uuid4())) for video in videos]
        answer = self._request("POST", "/v1/events", "events:write", json=events)
        assert answer.status == 202, answer.data
        self.accepted += BATCH
        return BATCH * VIDEO_ID_LENGTH

    def find_part(self, name):
        return self._get("/readyz")["parts"].get(name, {"status": "up", "reason": ""})

    def is_caught_up(self):
        return sum(partition["events_behind"] for partition in self._get("/v1/partitions")["partitions"]) == 0

    def count(self):
        (row,) = read_shards("SELECT coalesce(sum(count), 0)::int AS n FROM event_total")
        return row["n"]

    def await_count(self, count):
        wait_until(lambda: self.count() == count, what=f"{count} events counted")

    def _get(self, path):
        return self._request("GET", path, "admin").json()

    def _request(self, method, path, scope, **body):
        headers = {"Authorization": f"Bearer {self._keys[scope]}"}
        return self._pool.request(method, f"{self.cluster.web_url}{path}", headers=headers, **body)


@pytest.fixture
def service(django_db_blocker):
    with run_cluster(spec=SPEC, settings=SETTINGS) as cluster, django_db_blocker.unblock():
        use_cluster(cluster)
        yield Service(cluster)
        get_cluster().close()


@pytest.fixture
def log(service):
    """The log server, with little memory."""
    with service.cluster.valkey("log").connect() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + ROOM_BYTES)
        yield client


def test_a_lost_replica_neither_fills_the_log_nor_is_promoted_with_a_gap(service, log):
    primary, replica = service.cluster.layout.shards["shard1"]
    service.post()
    service.await_count(BATCH)
    wait_until(lambda: has_all(replica, count=BATCH), what="all of it on the replica")
    replica.kill()
    service.post()
    part = wait_until(lambda: (p := service.find_part("shard1 log"))["status"] == "degraded" and p, what="a warning")
    assert part["reason"].startswith("kept for shard1 replica, which is absent: ")
    posted_bytes = 0
    while posted_bytes < 2 * ROOM_BYTES:
        posted_bytes += service.post()
        wait_until(lambda: has_room(log), what="room in the log")
    assert Instance.objects.get(name=replica.name).excluded_at is not None
    service.await_count(service.accepted)

    primary.kill()
    replica.start()
    wait_until(lambda: service.find_part("shard1 condition")["status"] == "down", what="a shard without a primary")
    promotion = ("failover", "--shard", "shard1", "--to", replica.name, "--yes")
    with pytest.raises(ProgramFailed, match=f"{replica.name} is not promotable"):
        service.cluster.run_command(*promotion)
    assert get_primary("shard1") == primary.name
    assert "accept_log_loss" in service.cluster.run_command(*promotion, "--accept-loss", "--json")
    assert get_primary("shard1") == replica.name
    service.post()
    wait_until(lambda: "older than the log reaches back" in read_log(service.cluster), what="partitions that stop")
    assert service.count() == BATCH
    told = service.cluster.run_command("accept_log_loss", "--reason", "only this copy is left", "--yes")
    assert told.count("lost after") == LogLoss.objects.count() == SPEC.partitions
    service.post()
    wait_until(service.is_caught_up, what="partitions that go on")
    assert 3 * BATCH <= service.count() < service.accepted


def has_all(replica, *, count):
    with replica.connect() as connection:
        return connection.execute("SELECT coalesce(sum(count), 0) = %s FROM event_total", [count]).fetchone() == (True,)


def has_room(log):
    memory = log.info("memory")
    return memory["maxmemory"] - memory["used_memory"] > RESERVE_BYTES


def read_log(cluster):
    return cluster.state.get_log_path("worker").read_text(errors="replace")
