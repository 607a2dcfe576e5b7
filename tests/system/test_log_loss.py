"""The log server loses its data under load: no event is accepted or skipped until an operator has accepted the loss."""

import shutil
from uuid import uuid4

import pytest
import urllib3

from devtools.localcluster import ClusterSpec
from devtools.localcluster.errors import ProgramFailed
from tests.clusters import run_cluster
from tests.conftest import use_cluster
from tests.pace import limit
from tests.system.exactness import read_shards
from tests.unit.ingest.builders import make_event
from tests.waiting import wait_until
from viewcounter.cluster import get_cluster

pytestmark = pytest.mark.system

SPEC = ClusterSpec(shards=2, replicas_per_shard=0, partitions=4, web_workers=1)
REFUSED_POSTS = 30


class Service:
    """A cluster with only the processes that count, as a client and an operator see it."""

    def __init__(self, cluster):
        self.cluster = cluster
        self._keys = {
            scope: cluster.run_command("create_api_key", scope[:5], "--scopes", scope, "--quiet").strip()
            for scope in ("events:write", "admin")
        }
        self._pool = urllib3.PoolManager(retries=False, timeout=limit(10))

    def post(self, events):
        return self._request("POST", "/v1/events", "events:write", json=events)

    def post_until_accepted(self, events):
        answer = wait_until(lambda: (a := self.post(events)).status == 202 and a, what="a 202")
        assert answer.json()["accepted"] == len(events)

    def get(self, path):
        return self._request("GET", path, "admin")

    def count(self):
        return sum(row["n"] for row in read_shards("SELECT coalesce(sum(count), 0)::int AS n FROM event_total"))

    def await_count(self, count):
        wait_until(lambda: self.count() == count, what=f"{count} events counted")

    def lose_log(self):
        log = self.cluster.valkey("log")
        log.kill()
        shutil.rmtree(log.data_dir)
        log.start()
        log.wait_ready()

    def _request(self, method, path, scope, **body):
        headers = {"Authorization": f"Bearer {self._keys[scope]}"}
        return self._pool.request(method, f"{self.cluster.web_url}{path}", headers=headers, **body)


@pytest.fixture(scope="module")
def service():
    with run_cluster(spec=SPEC, settings={"VIEWCOUNTER_LOG_BREAKER_OPEN_SECONDS": "0.1"}) as cluster:
        use_cluster(cluster)
        yield Service(cluster)
        get_cluster().close()


def make_events(count):
    return [make_event(video_id=f"video-{number % 40}", event_id=str(uuid4())) for number in range(count)]


def read_code(answer):
    return answer.status, answer.json().get("code")


def test_an_emptied_log_takes_nothing_until_its_loss_is_accepted(service):
    cluster, worker = service.cluster, service.cluster.application("worker")
    service.post_until_accepted(make_events(500))
    service.await_count(500)
    worker.pause()
    lost = make_events(300)
    service.post_until_accepted(lost)
    service.lose_log()
    refused = {read_code(service.post(make_events(10))) for _ in range(REFUSED_POSTS)}
    worker.resume()
    assert refused <= {(503, "log_lost"), (503, "log_unavailable")}  # it was down for a moment
    assert read_code(service.post(make_events(1))) == (503, "log_lost")
    ready = wait_until(lambda: (a := service.get("/readyz")).json()["parts"]["log"]["status"] == "down" and a)
    assert (ready.status, "holds no log" in ready.json()["parts"]["log"]["reason"]) == (503, True)
    wait_until(lambda: "the event log cannot be used" in read_log(cluster, "worker"), what="a line in the worker's log")
    wait_until(lambda: 'viewcounter_log_unfit{code="log_lost"} 1.0' in service.get("/metrics").data.decode())
    assert service.count() == 500
    with pytest.raises(ProgramFailed, match="no terminal for the confirmation"):
        cluster.run_command("accept_log_loss", "--reason", "its disk died")
    assert read_code(service.post(make_events(1))) == (503, "log_lost")
    said = cluster.run_command("accept_log_loss", "--reason", "its disk died", "--yes")
    assert said.count("lost after") == 4
    service.post_until_accepted(make_events(200))
    service.await_count(700)
    service.post_until_accepted(lost)  # clients that kept them send them again
    service.await_count(1000)
    told = service.get("/v1/cluster").json()["log"]
    assert {loss["partition"] for loss in told["losses"]} == {0, 1, 2, 3}
    assert {loss["reason"] for loss in told["losses"]} == {"its disk died"}
    assert "of 4 partitions" in service.get("/readyz").json()["parts"]["log losses"]["reason"]


def read_log(cluster, name):
    return cluster.state.get_log_path(name).read_text(errors="replace")


def test_a_log_that_restarts_with_its_data_just_goes_on(service):
    before = service.count()
    service.post_until_accepted(make_events(100))
    log = service.cluster.valkey("log")
    log.kill()
    log.start()
    log.wait_ready()
    service.post_until_accepted(make_events(100))
    service.await_count(before + 200)
    wait_until(lambda: service.get("/readyz").json()["parts"]["log"]["status"] == "up")


def test_a_log_that_may_evict_entries_is_refused(service):
    with service.cluster.valkey("log").connect() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            wait_until(lambda: read_code(service.post(make_events(1))) == (503, "log_unsafe"))
            wait_until(lambda: "evicts keys" in service.get("/readyz").json()["parts"]["log"]["reason"])
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    service.post_until_accepted(make_events(1))
