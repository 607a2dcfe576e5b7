"""Health addresses, documents, and what readers are told when something is down."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from django.db import connections
from django.utils import timezone

from configservice.failover.records import Condition, ShardCondition
from configservice.models import Shard, TopologyEpoch
from configservice.topology.cluster_cache import get_cluster_cache
from configservice.topology.publication import push_to_cache, read_from_control_database
from configservice.topology.published_snapshot import build_published_snapshot
from tests.integration.queries.rows import DAY, MinuteRow, await_replicas, find_videos_by_shard, store_rows
from tests.waiting import wait_while
from viewcounter.api.resources.health import get_readiness_probe
from viewcounter.apikeys.authentication import get_key_cache
from viewcounter.eventlog.confirmation import LogConfirmation
from viewcounter.eventlog.redis_streams import RedisEventLog
from viewcounter.eventlog.registry import get_event_log
from viewcounter.health.readiness import ReadinessProbe
from viewcounter.health.settings import ReadinessSettings
from viewcounter.health.shard_condition import NO_CONFIG_SERVICE
from viewcounter.storage import partitions

HOUR = timedelta(hours=1)
UP = {"status": "up", "reason": ""}
ALL_UP = {
    "topology": UP,
    "log": UP,
    "shard1 primary": UP,
    "shard1 replica": UP,
    "shard1 schema": UP,
    "shard2 primary": UP,
    "shard2 replica": UP,
    "shard2 schema": UP,
    "config service": UP,
    "shard1 condition": UP,
    "shard2 condition": UP,
    "control database": UP,
    "cache": UP,
    "topology signature": UP,
    "API keys": UP,
}
TOLD_BY_THE_CONFIG_SERVICE = {"config service", "shard1 condition", "shard2 condition"}
CONTROL_AWAY = (
    "does not answer: known API keys and the topology stay in use; meanwhile nothing can be changed, no instance joins,"
    " and no shard fails over unless an external manager does it"
)
READY = {"status": "ready", "parts": ALL_UP}


@pytest.fixture(autouse=True)
def conditions(api):
    """What a leading config service writes down; none runs here."""
    record_conditions(Condition.WELL)
    yield
    ShardCondition.objects.all().delete()


def record_conditions(condition, *, seconds_ago=0):
    now = timezone.now()
    for shard in Shard.objects.all():
        ShardCondition.objects.update_or_create(
            shard=shard,
            defaults={"condition": condition, "since": now, "seen_at": now + HOUR - timedelta(seconds=seconds_ago)},
        )


def down(reason):
    return {"status": "down", "reason": reason}


def read_readiness(api):
    get_readiness_probe.cache_clear()
    response = api.call("GET", "/readyz", scope=None)
    api.check(response.json(), {"$ref": "#/components/schemas/Readiness"})
    return response.status_code, response.json()


def await_readiness(api, status, body):
    def find_difference():
        found = read_readiness(api)
        return None if found == (status, body) else found

    wait_while(find_difference, what=f"readiness {status}")


def test_health_needs_nothing_but_the_process(api):
    assert api.get("/healthz", "/healthz", scope=None) == {"status": "ok"}


def test_readiness_names_each_part_and_no_host(api):
    await_readiness(api, 200, READY)
    assert "127.0.0.1" not in str(read_readiness(api))


@pytest.mark.parametrize(
    ("server", "part", "reason"),
    [
        ("shard2b", "shard2 replica", "does not take connections"),
        (
            "broker",
            "cache",
            "does not answer: topology is polled from the control database, rows are not shared",
        ),
        (
            "control",
            "control database",
            CONTROL_AWAY,
        ),
    ],
)
def test_a_dead_part_is_named_with_its_reason_and_does_not_make_the_service_unready(api, servers, server, part, reason):
    await_readiness(api, 200, READY)
    api.get("/v1/videos/v1/counts", "/v1/videos/{video_id}/counts")  # a key that is known from now on
    servers.server(server).kill()
    try:
        untold = TOLD_BY_THE_CONFIG_SERVICE if server == "control" else set()
        parts = {name: said for name, said in ALL_UP.items() if name not in untold} | {part: down(reason)}
        if server == "control":
            reason = "known ones stay valid; new ones and revocations have no effect meanwhile"
            parts["API keys"] = {"status": "degraded", "reason": reason}
        await_readiness(api, 200, {"status": "degraded", "parts": parts})
    finally:
        servers.server(server).start()
        servers.server(server).wait_ready()
        connections.close_all()
    await_readiness(api, 200, READY)


def test_without_the_control_database_a_process_that_knows_no_key_is_unready(api, servers):
    await_readiness(api, 200, READY)
    servers.server("control").kill()
    try:
        get_key_cache().clear()  # as in a process that has just started
        away = {
            "control database": down(CONTROL_AWAY),
            "API keys": down("no key can be checked: the control database does not answer and this host has no copy"),
        }
        parts = {name: said for name, said in ALL_UP.items() if name not in TOLD_BY_THE_CONFIG_SERVICE}
        await_readiness(api, 503, {"status": "unready", "parts": parts | away})
    finally:
        servers.server("control").start()
        servers.server("control").wait_ready()
        connections.close_all()
    await_readiness(api, 200, READY)


def test_a_false_topology_is_named_with_its_place_and_what_is_known_goes_on(api):
    await_readiness(api, 200, READY)
    known = read_from_control_database()
    false = msgspec.structs.replace(known.decode(), epoch=10**6, assignments=known.decode().assignments * 4)
    push_to_cache(get_cluster_cache(), build_published_snapshot(false), false.epoch)
    try:
        reason = "the last valid topology stays in use: the topology of the cache is refused (unsigned)"
        parts = ALL_UP | {"topology": {"status": "degraded", "reason": reason}}
        await_readiness(api, 200, {"status": "degraded", "parts": parts})
    finally:
        push_to_cache(get_cluster_cache(), known, known.decode().epoch)
    await_readiness(api, 200, READY)


def test_a_change_of_the_topology_that_nobody_signs_is_named(api):
    await_readiness(api, 200, READY)
    newest = TopologyEpoch.objects.first()
    changed = {"epoch": newest.epoch + 1, "snapshot": newest.snapshot, "signatures": {}}
    row = TopologyEpoch.objects.create(reason="unsigned", actor="test", **changed)
    try:
        TopologyEpoch.objects.filter(epoch=row.epoch).update(created_at=timezone.now() - HOUR)
        reason = (
            "is missing from the newest change: no process acts on it before a config service with the key signs it"
        )
        await_readiness(api, 200, {"status": "degraded", "parts": ALL_UP | {"topology signature": down(reason)}})
    finally:
        row.delete()
    await_readiness(api, 200, READY)


def test_a_shard_with_another_schema_version_is_named(api, monkeypatch):
    await_readiness(api, 200, READY)
    monkeypatch.setattr(partitions, "EXPECTED_SCHEMA_VERSION", "0099_from_the_future")
    other = down("is of another release: run migrate_shards")
    parts = ALL_UP | {"shard1 schema": other, "shard2 schema": other}
    await_readiness(api, 200, {"status": "degraded", "parts": parts})


def test_a_shard_that_nobody_could_take_over_is_named(api):
    await_readiness(api, 200, READY)
    record_conditions(Condition.WITHOUT_REPLICA)
    reason = "no promotable replica: a failure of the primary could not be failed over"
    told = {f"shard{n} condition": {"status": "degraded", "reason": reason} for n in (1, 2)}
    await_readiness(api, 200, {"status": "degraded", "parts": ALL_UP | told})


def test_without_a_config_service_that_is_said_once_and_nothing_old_is_told(api):
    record_conditions(Condition.WELL, seconds_ago=3600 + 60)
    parts = {name: said for name, said in ALL_UP.items() if name not in TOLD_BY_THE_CONFIG_SERVICE}
    unseen = {"status": "degraded", "reason": NO_CONFIG_SERVICE}
    await_readiness(api, 200, {"status": "degraded", "parts": parts | {"config service": unseen}})


def test_a_dead_log_makes_the_service_unready(api, servers):
    log = servers.valkey("log")
    log.kill()
    try:
        reason = "accepts no entries: events go to the spool, or are refused without one"
        await_readiness(api, 503, {"status": "unready", "parts": ALL_UP | {"log": down(reason)}})
    finally:
        log.start()
        log.wait_ready()
    await_readiness(api, 200, READY)


def test_a_gateway_whose_clock_is_wrong_is_unready_and_says_so(api, servers):
    url = servers.environment["VIEWCOUNTER_LOG_URL"]
    confirm = LogConfirmation(
        lambda: api.cluster,
        seconds=2.0,
        clock_skew_seconds=60.0,
        now=lambda: datetime.now(UTC) + timedelta(seconds=90),
    )
    log = RedisEventLog(url, timeout_seconds=2.0, confirm=confirm)
    settings = ReadinessSettings(keep_seconds=60, probe_seconds=1, max_lag_seconds=10)
    probe = ReadinessProbe(settings, dependencies={}, knows_key=lambda: True)
    try:
        readiness = probe.check(api.cluster, log)
    finally:
        log.close()
    assert readiness.status == "unready"
    said = readiness.parts["log"].reason
    assert said == (
        "accepts no entries: this process's clock is 90 s ahead of those of the log server and the shards; "
        "correct the clock of this machine"
    )


def test_a_shard_whose_clock_ran_ahead_of_what_deletion_trusts_is_named(api):
    await_readiness(api, 200, READY)
    shard = api.cluster.topology.shards[0]
    with api.cluster.shard_transaction(shard.id) as connection:
        connection.execute("INSERT INTO deletion_clock VALUES ('a machine', 0, now() - interval '3 days')")
    try:
        status, body = read_readiness(api)
        assert (status, body["status"]) == (200, "degraded")
        assert body["parts"]["shard1 deletion"] == {
            "status": "degraded",
            "reason": "deletion by age lags the shard's clock by 72.0 hours: "
            "a clock was set ahead, or no worker ran for that long",
        }
    finally:
        with api.cluster.shard_transaction(shard.id) as connection:
            connection.execute("DELETE FROM deletion_clock")
    await_readiness(api, 200, READY)


def test_a_crowd_at_the_door_causes_one_probe(api):
    settings = ReadinessSettings(keep_seconds=60, probe_seconds=1, max_lag_seconds=10)
    probe = ReadinessProbe(settings, dependencies={}, knows_key=lambda: True)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: probe.check(api.cluster, get_event_log()), range(20)))
    assert all(answer is answers[0] for answer in answers)


def test_the_document_and_its_pages_are_open_and_need_no_network(api):
    schema = api.call("GET", "/v1/schema?format=json", scope=None)
    assert schema.status_code == 200
    docs = api.call("GET", "/v1/docs", scope=None, headers={"Accept": "text/html"})
    assert docs.status_code == 200
    assert b"cdn." not in docs.content


@pytest.fixture
def half_dead(api, servers):
    """Views on both shards, then every instance of the last one killed."""
    videos = find_videos_by_shard(api.cluster, per_shard=2)
    store_rows(api.cluster, [MinuteRow(v, 1, DAY, (1000,)) for own in videos.values() for v in own])
    shard = api.cluster.topology.shards[-1]
    instances = [servers.database(instance.name) for instance in shard.instances]
    for instance in instances:
        instance.kill()
    yield api, videos, shard
    for instance in instances:
        instance.start()
    for instance in instances:
        instance.wait_ready()
    await_replicas(api.cluster)


def test_a_dead_shard_is_503_for_its_videos_and_partial_for_lists(half_dead):
    api, videos, shard = half_dead
    lost = videos[shard.id]
    kept = [v for shard_id, own in videos.items() if shard_id != shard.id for v in own]
    response = api.call("GET", f"/v1/videos/{lost[0]}/counts")
    assert (response.status_code, response.json()["code"]) == (503, "shard_unavailable")
    assert response["Retry-After"] == "1"
    assert api.call("GET", f"/v1/videos/{lost[0]}/stats?event_type=view").status_code == 503
    assert api.get(f"/v1/videos/{kept[0]}/counts", "/v1/videos/{video_id}/counts")["counts"]["view"] == 1
    many = api.post("/v1/counts/query", {"video_ids": [lost[0], kept[0], lost[1]]})
    assert (many["meta"]["partial"], many["meta"]["missing"]) == (True, lost)
    assert [video["video_id"] for video in many["videos"]] == [kept[0]]
    top = api.get("/v1/top?event_type=view", "/v1/top")
    assert (top["meta"]["partial"], top["meta"]["missing"]) == (True, [shard.name])
    assert sorted(item["video_id"] for item in top["items"]) == sorted(kept)


def test_without_the_control_database_known_keys_read_counts(api, servers):
    assert api.call("GET", "/v1/videos/v1/counts").status_code == 200
    control = servers.database("control")
    control.kill()
    try:
        assert api.call("GET", "/v1/videos/v1/counts").status_code == 200
        response = api.call("GET", "/v1/videos/v1")
        assert (response.status_code, response.json()["code"]) == (503, "control_database_unavailable")
        assert response["Retry-After"] == "1"
        stranger = {"Authorization": f"Bearer vc_{'0' * 12}_{'x' * 43}"}
        unknown = api.call("GET", "/v1/videos/v1/counts", scope=None, headers=stranger)
        assert (unknown.status_code, unknown.json()["code"]) == (503, "keys_unavailable")
    finally:
        control.start()
        control.wait_ready()
        connections.close_all()
