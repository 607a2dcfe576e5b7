"""Every secret that can be exchanged is, under load: no post and no read fails, no process restarts."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
import urllib3

from configservice.models import TopologyEpoch
from configservice.registry.known_keys import find_lacking
from configservice.registry.services import list_key_holders
from configservice.topology.signing import make_signing_key_file, read_signing_key
from devtools.drill.load import LoadClient
from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.localcluster.environment import CONTROL_PASSWORD, VIEWER_KEY, get_exchanged_path, get_public_keys_path
from devtools.localcluster.errors import ProgramFailed
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.signing_key import get_signing_key_path
from devtools.localcluster.spec import CONFIG_SERVICE_ROLE, SERVICE_ROLE, SHARD_PROXY_ROLE, SUPERUSER_ROLE
from devtools.localcluster.state import write_private
from tests.clusters import SELDOM, run_cluster
from tests.conftest import use_cluster
from tests.pace import limit
from tests.system.exactness import assert_exactly_acknowledged
from tests.system.failing_over import find_epochs, get_newest_epoch
from tests.system.steady_load import post_steadily, read_steadily
from tests.unit.ingest.builders import make_event
from tests.waiting import wait_until
from viewcounter.cluster import get_cluster
from viewcounter.events.viewer import ViewerDigest, derive_viewer_key
from viewcounter.health.registration import find_services

pytestmark = [pytest.mark.system, pytest.mark.long(minutes=2)]

logger = logging.getLogger(__name__)

WEB_WORKERS = 2
VIEWERS = 20
VIDEO = "rotation"
STEP_SECONDS = 2.5
"""Of load between two steps: longer than a pooled connection lives in this cluster."""
PROBE_SECONDS = 10.0
_NEW_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND backend_start > %s"
_CUT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE usename = %s AND state = 'idle' AND (%s OR application_name ~ ' (health|shardproxy|configservice)$')
"""


@pytest.fixture(scope="module")
def cluster(django_db_blocker) -> Iterator[LocalCluster]:
    spec = ClusterSpec(partitions=8, web_workers=WEB_WORKERS, movers=1, exchanges_secrets=True)
    settings = SELDOM | {"VIEWCOUNTER_POOL_MAX_LIFETIME_SECONDS": "1"}
    with run_cluster(spec=spec, settings=settings) as cluster, django_db_blocker.unblock():
        use_cluster(cluster)
        yield cluster
        get_cluster().close()


@dataclass
class Fleet:
    """The processes of the cluster, a client of it, and which part of the exchange took how long."""

    cluster: LocalCluster
    key: str
    seconds: dict[str, float] = field(default_factory=dict)
    _pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False))

    def list_pids(self) -> dict[str, list[int]]:
        """Of gateways, workers, pull processes, config services and shard proxies."""
        applications = self.cluster.layout.applications
        return {name: [process.pid, *sorted(process.list_child_pids())] for name, process in applications.items()}

    def call(self, method: str, path: str, **body: object) -> urllib3.BaseHTTPResponse:
        answer = self._pool.request(
            method,
            self.cluster.web_url + path,
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=limit(PROBE_SECONDS),
            **body,
        )
        assert answer.status in (200, 202), answer.data
        return answer

    def view_as_everybody(self, load: LoadClient, at: datetime, *, key: str) -> None:
        """Adds what was acknowledged to `load`, viewers under another name for each key that they were sent under."""
        events = {
            f"v{n}": make_event(video_id=VIDEO, occurred_at=at.isoformat(), viewer_id=f"v{n}") for n in range(VIEWERS)
        }
        self.call("POST", "/v1/events", json=list(events.values()))
        for viewer, event in events.items():
            load.acknowledged[UUID(event["event_id"])] = (VIDEO, "view")
            load.viewers[UUID(event["event_id"])] = f"{viewer} by the {key} key"

    def count_viewers(self, start: datetime, end: datetime) -> int | None:
        period = f"start_time={start:%Y-%m-%dT%H:%M:%SZ}&end_time={end:%Y-%m-%dT%H:%M:%SZ}"
        answer = self.call("GET", f"/v1/videos/{VIDEO}/stats?event_type=view&function=unique_viewers&{period}").json()
        return None if answer["value"] is None else round(answer["value"])

    def count_gateways(self, secret: str) -> int:
        """Those that know this key of viewers."""
        name = f'fingerprint="{ViewerDigest(derive_viewer_key(secret)).key_fingerprint}"'
        lines = self.call("GET", "/metrics").data.decode().splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if "gateways_by_viewer_key" in line and name in line)


@pytest.fixture
def fleet(cluster: LocalCluster) -> Fleet:
    scopes = "events:write,stats:read,admin"
    return Fleet(cluster, cluster.run_command("create_api_key", "rotation", "--scopes", scopes, "--quiet").strip())


def cut(server: PostgresServer, role: str, *, all_of_them: bool) -> None:
    """End the sessions that are kept: leases, listeners, probes; the pools make new ones all the time."""
    with server.connect(user=SUPERUSER_ROLE) as connection:
        [before] = connection.execute("SELECT clock_timestamp()").fetchone()
        connection.execute(_CUT, [role, all_of_them])

        def has_come_back() -> bool:
            return connection.execute(_NEW_SESSIONS, [role, before]).fetchone()[0] > 0

        wait_until(has_come_back, what=f"new sessions of {role} on {server.name}")


def accepts(server: PostgresServer, role: str, password: str) -> bool:
    try:
        with psycopg.connect(
            host="127.0.0.1", port=server.port, dbname=server.database, user=role, password=password, connect_timeout=5
        ):
            return True
    except psycopg.OperationalError:
        return False


def change_password(path, role: str, primaries: list[PostgresServer], replicas: list[PostgresServer] = ()) -> None:
    """In the order of docs/operations/secrets.md; each step lasts until sessions were made in it."""
    old, new = path.read_text().strip(), f"{role}-changed"
    is_control = not replicas
    for passwords, changes in ((f"{old}\n{new}\n", False), (f"{old}\n{new}\n", True), (f"{new}\n", False)):
        write_private(path, passwords)
        for server in primaries if changes else ():
            with server.connect(user=SUPERUSER_ROLE) as connection:
                connection.execute(f"ALTER ROLE {role} PASSWORD '{new}'")
        if changes:
            for server in (*primaries, *replicas):
                wait_until(
                    lambda server=server: accepts(server, role, new), what=f"{server.name} with the new password"
                )
        for server in primaries:
            cut(server, role, all_of_them=is_control)
        time.sleep(STEP_SECONDS)
    assert not accepts(primaries[0], role, old)


def exchange_signing_key(cluster: LocalCluster) -> None:
    """In the order of docs/operations/topology.md."""
    private, public = get_signing_key_path(cluster.state), get_public_keys_path(cluster.state)
    old, new = read_signing_key(private), make_signing_key_file(private.with_suffix(".new"))
    command = ("use_signing_key", str(private.with_suffix(".new")))
    with pytest.raises(ProgramFailed, match=f"processes do not know key {new.id}"):
        cluster.run_command(*command, signs=True)
    write_private(public, f"{old.public}\n{new.public}\n")
    wait_until(lambda: not find_lacking(list_key_holders(find_services() or ()), new.id), what="the key to be known")
    cluster.run_command(*command, signs=True)
    wait_until(lambda: new.id in TopologyEpoch.objects.order_by("-epoch")[0].signatures, what="the new signature")
    copy = cluster.state.topology_file
    wait_until(lambda: new.id in copy.read_text(), what="a disk copy that a process without the old key accepts")
    write_private(public, f"{new.public}\n")
    change_the_topology(cluster)
    assert set(TopologyEpoch.objects.order_by("-epoch")[0].signatures) == {new.id}


def change_the_topology(cluster: LocalCluster) -> None:
    before = get_newest_epoch()
    replica = get_cluster().topology.shards[0].replicas[0].name
    cluster.run_command("drain_instance", replica, "--yes")
    cluster.run_command("undrain_instance", replica, "--yes")
    wait_until(lambda: get_newest_epoch() >= before + 2, what="the changes to be signed")
    wait_until(lambda: find_epochs() - {None} == {get_newest_epoch()}, what="every process at the newest epoch")


def exchange_viewer_key(fleet: Fleet, midnight: datetime) -> str:
    """A key that holds from `midnight` on; returns its secret."""
    path = get_exchanged_path(fleet.cluster.state, VIEWER_KEY)
    secret = "the-next-secret-of-viewers-" + "x" * 20
    assert fleet.count_gateways(path.read_text().strip()) == WEB_WORKERS
    write_private(path, f"{path.read_text().strip()}\n{midnight:%Y-%m-%d} {secret}\n")
    wait_until(lambda: fleet.count_gateways(secret) == WEB_WORKERS, what="every gateway to know the key of viewers")
    return secret


def test_secrets_are_exchanged_under_load_without_a_failure_or_a_restart(fleet: Fleet):
    cluster = fleet.cluster
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    noon, tomorrow = midnight - timedelta(hours=12), midnight + timedelta(days=1)
    pids = fleet.list_pids()
    primaries, replicas = ([cluster.database(f"shard{n}{letter}") for n in (1, 2)] for letter in "ab")
    shard_passwords = {
        SERVICE_ROLE: "shard_password",
        CONFIG_SERVICE_ROLE: "configservice_password",
        SHARD_PROXY_ROLE: "shard_proxy_password",
    }

    def measure(what: str, began_at: float) -> None:
        fleet.seconds[what] = round(time.monotonic() - began_at, 1)

    load, readers = post_steadily(cluster, fleet.key, seed=33), read_steadily(cluster, fleet.key)
    for client in range(2):  # of yesterday: every viewer keeps its number, whichever keys a gateway knows
        load.client_faults.skew_seconds[client] = -timedelta(days=1).total_seconds()
    with load, readers:
        fleet.view_as_everybody(load, noon, key="old")
        time.sleep(STEP_SECONDS)
        began_at = time.monotonic()
        exchange_signing_key(cluster)
        measure("signing key", began_at)
        began_at = time.monotonic()
        exchange_viewer_key(fleet, midnight)
        measure("key of viewers", began_at)
        fleet.view_as_everybody(load, noon + timedelta(minutes=1), key="old")  # late
        fleet.view_as_everybody(load, datetime.now(UTC), key="new")
        for role, name in shard_passwords.items():
            began_at = time.monotonic()
            change_password(cluster.state.get_secret_path(name), role, primaries, replicas)
            measure(f"password of {role}", began_at)
        began_at = time.monotonic()
        change_password(
            get_exchanged_path(cluster.state, CONTROL_PASSWORD), SERVICE_ROLE, [cluster.database("control")]
        )
        measure("password of the control database", began_at)
        change_the_topology(cluster)  # a leader, a signer and listeners that live on the new password
        time.sleep(STEP_SECONDS)
    worst = max(attempt.latency_seconds for attempt in (*load.attempts.read(), *readers.attempts.read()))
    story = (
        f"posts {dict(load.statuses)}, reads {readers.answered}, failed {readers.failed[:3]}, slowest {worst:.2f} s,"
        f" seconds {fleet.seconds}"
    )
    logger.warning("%d events, %s", len(load.acknowledged), story)
    assert_exactly_acknowledged(load, story=story)
    assert (set(load.statuses), readers.failed) == ({"202"}, []), story
    assert fleet.list_pids() == pids
    for period, viewers in (
        ((midnight - timedelta(days=1), midnight), VIEWERS),
        ((midnight, tomorrow), VIEWERS),
        ((midnight - timedelta(days=1), tomorrow), 2 * VIEWERS),
    ):
        wait_until(lambda p=period, v=viewers: fleet.count_viewers(*p) == v, what=f"{viewers} viewers")
