"""The control database is dead and every other process is started again: posts, counting and reads go on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import urllib3
from django.db import connections

from devtools.localcluster import LocalCluster
from tests.pace import limit
from tests.processes import running
from tests.unit.ingest.builders import make_event
from tests.waiting import wait_until
from viewcounter.apikeys.key_file import FILE_NAME, KeyList, find_key_list, write_key_list
from viewcounter.apikeys.keys import create_key, revoke_key
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import Scope

pytestmark = pytest.mark.system

BOUND_SECONDS = 10.0
STRANGER = f"vc_{'0' * 12}_{'x' * 43}"


class Host:
    """The gateway of the cluster, its file of keys, and what was accepted."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._pool = urllib3.PoolManager(retries=False, timeout=limit(BOUND_SECONDS))
        self._path = Path(cluster.environment["VIEWCOUNTER_STATE_DIR"]) / FILE_NAME
        self._secret = cluster.environment["VIEWCOUNTER_SECRET_KEY"]
        self.accepted = 0

    def call(self, method: str, path: str, token: str | None = None, **body: object) -> tuple[int, dict]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = self._pool.request(method, self._cluster.web_url + path, headers=headers, **body)
        return answer.status, answer.json()

    def post(self, token: str) -> tuple[int, str]:
        status, answer = self.call("POST", "/v1/events", token, json=make_event(video_id="away"))
        self.accepted += status == 202
        return status, answer.get("code", "")

    def count(self, token: str) -> int:
        status, answer = self.call("GET", "/v1/videos/away/counts", token)
        assert status == 200, answer
        return answer["counts"]["view"]

    def find_part(self, name: str) -> dict[str, str]:
        return self.call("GET", "/readyz")[1]["parts"][name]

    def read_keys(self) -> KeyList:
        keys = find_key_list(
            self._path, secret=self._secret, cluster_id=self._cluster.environment["VIEWCOUNTER_CLUSTER_ID"]
        )
        assert keys is not None
        return keys

    def age_keys(self, age: timedelta) -> None:
        keys = msgspec.structs.replace(self.read_keys(), read_at=datetime.now(UTC) - age)
        write_key_list(self._path, keys, secret=self._secret)


@pytest.fixture
def tokens(shared_cluster: LocalCluster, django_db_blocker) -> Iterator[dict[str, str]]:
    with django_db_blocker.unblock():
        scopes = {"app": [Scope.EVENTS_WRITE, Scope.STATS_READ], "operator": [Scope.ADMIN], "left": list(Scope)}
        made = {name: create_key(name, scopes[name]) for name in scopes}
        revoke_key(made["left"][0].prefix, now=datetime.now(UTC))
        yield {name: token for name, (_, token) in made.items()}
        connections.close_all()
        ApiKey.objects.filter(name__in=scopes).delete()


@contextmanager
def control_database_dead(cluster: LocalCluster) -> Iterator[None]:
    control = cluster.server("control")
    control.kill()
    try:
        yield
    finally:
        control.start()
        control.wait_ready()


def start_again(cluster: LocalCluster, *names: str) -> None:
    for name in names:
        cluster.application(name).stop()
        cluster.application(name).start()
    for name in names:
        cluster.application(name).wait_ready()


def test_all_that_starts_without_the_control_database_serves_known_keys(shared_cluster, tokens):
    host = Host(shared_cluster)
    wait_until(lambda: len(host.read_keys().keys) >= len(tokens), what="keys on the disk of the gateway's host")
    assert host.post(tokens["app"]) == (202, "")
    with control_database_dead(shared_cluster):
        start_again(shared_cluster, "web", "worker", "beat", "beat2", "shardproxy")
        assert host.post(tokens["app"]) == (202, "")
        wait_until(lambda: host.count(tokens["app"]) == host.accepted, what="every event to be counted")
        assert host.post(STRANGER) == (503, "keys_unavailable")
        assert host.post(tokens["left"]) == (401, "invalid_key")
        assert host.call("GET", "/v1/cluster", tokens["operator"])[0] == 200
        assert host.call("GET", "/readyz")[0] == 200
        assert "no shard fails over" in host.find_part("control database")["reason"]
        assert host.find_part("API keys")["status"] == "degraded"
        assert_mover_waits(shared_cluster)
        service = shared_cluster.application("configservice1")
        service.stop()
        service.start()

        host.age_keys(timedelta(days=1, seconds=1))
        start_again(shared_cluster, "web")
        assert host.post(tokens["app"]) == (202, "")
        status, answer = host.call("GET", "/v1/cluster", tokens["operator"])
        assert (status, answer["code"]) == (503, "admin_unconfirmed")
    wait_until(lambda: host.call("GET", "/v1/cluster", tokens["operator"])[0] == 200, what="scope admin is back")
    wait_until(lambda: host.count(tokens["app"]) == host.accepted, what="every event to be counted")
    assert host.post(STRANGER) == (401, "invalid_key")
    service.wait_ready()
    wait_until(lambda: host.find_part("config service")["status"] == "up", what="a config service leads again")


def assert_mover_waits(cluster: LocalCluster) -> None:
    command = [sys.executable, "manage.py", "run_mover"]
    log = cluster.state.get_log_path("mover of the test")
    with log.open("w") as output, running(command, environment=cluster.environment, stderr=output.fileno()) as mover:
        said = "the control database does not answer, no move is claimed or continued"
        wait_until(lambda: said in log.read_text(), what="a mover that waits")
        assert mover.poll() is None
