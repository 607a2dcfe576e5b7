"""Ledger and recounts over REST: what an operator reads, asks for, and gets."""

import uuid

import pytest

from tests.integration.processing.counted import HOUR, PARTITION, count_events
from viewcounter.config import get_config
from viewcounter.maintenance.models import RecountJob
from viewcounter.maintenance.recount_jobs import run_recount

LEDGER = ("received", "counted", "duplicate", "conflict", "dead_lettered")


@pytest.fixture
def counted(api):
    RecountJob.objects.all().delete()
    yield count_events(api.cluster)
    RecountJob.objects.all().delete()


def read_audit(api, hour):
    return api.get(f"/v1/audit?hour={show(hour)}", "/v1/audit", scope="admin")


def show(hour):
    return hour.isoformat().replace("+00:00", "Z")


def test_the_ledger_of_an_hour_balances_over_every_partition(api, counted):
    audit = read_audit(api, counted.first_hour)
    assert (audit["hour"], audit["balances"], audit["missing"]) == (show(counted.first_hour), True, [])
    assert [part["partition"] for part in audit["partitions"]] == list(range(api.cluster.topology.partition_count))
    first_us = int(counted.first_hour.timestamp()) * 1_000_000
    expected = sum(first_us <= event.occurred_us < first_us + 3_600_000_000 for event in counted.events)
    assert audit["totals"] == dict.fromkeys(LEDGER, 0) | {"received": expected, "counted": expected}
    part = audit["partitions"][PARTITION]
    assert part["raw_count"] == part["aggregate_count"] == part["counted"] == expected
    assert (part["raw_difference"], part["aggregate_difference"], part["aggregate_tier"]) == (0, 0, "minute")
    assert part["raw_digest"] == part["digest"] != "0"


def test_an_hour_that_does_not_balance_says_where_and_what(api, counted):
    video, type_id, start = min(key for key in counted.read("event_minute") if key[2] < counted.first_hour + HOUR)
    counted.execute(
        "DELETE FROM event_minute WHERE video_id = %s AND event_type_id = %s AND start = %s", video, type_id, start
    )
    count, *_ = counted.expect(seconds=60)[video, type_id, start]
    audit = read_audit(api, counted.first_hour)
    assert audit["balances"] is False
    assert [part["partition"] for part in audit["partitions"] if not part["balances"]] == [PARTITION]
    part = audit["partitions"][PARTITION]
    assert part["aggregate_difference"] == -count
    by_comparison = {finding["comparison"]: finding for finding in part["findings"]}
    assert set(by_comparison) == {"aggregate", "minute"}
    [row] = by_comparison["minute"]["differences"]
    assert (row["video_id"], row["event_type_id"], row["start"]) == (video, type_id, show(start))
    assert (row["found"], row["expected"]["count"]) == (None, count)


def test_a_shard_that_does_not_hold_a_partition_is_named(api, counted):
    counted.execute("UPDATE partition_state SET state = 'moved' WHERE partition = 3")
    audit = read_audit(api, counted.first_hour)
    assert audit["balances"] is False
    assert audit["missing"] == [{"shard": api.cluster.topology.get_shard_of(3).name, "partitions": [3]}]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "required"),
        ("hour=yesterday", "invalid_time"),
        ("hour=2026-01-01T00:30:00Z", "not_an_hour"),
        ("hour=2026-01-01T05:00:00%2B05:30", "not_an_hour"),
    ],
)
def test_an_audit_needs_an_hour(api, query, code):
    answer = api.call("GET", f"/v1/audit?{query}", scope="admin")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code)


def ask(api, body):
    answer = api.call("POST", "/v1/recounts", body=body, scope="admin")
    assert answer.status_code == 202
    job = answer.json()
    assert answer["Location"] == f"/v1/recounts/{job['id']}"
    return job


def read_recount(api, job):
    return api.get(f"/v1/recounts/{job['id']}", "/v1/recounts/{recount_id}", scope="admin")


def test_a_recount_is_queued_run_and_shows_before_and_after(api, counted):
    video = counted.videos[0]
    right = counted.read("event_total")[video, 1]
    counted.execute(
        "UPDATE event_total SET count = 1, sum = 2, min = 3, max = 4 WHERE video_id = %s AND event_type_id = 1", video
    )
    job = ask(api, {"video_id": video, "apply": True})
    assert (job["state"], job["partition"], job["video_id"], job["apply"]) == ("queued", PARTITION, video, True)
    run_recount(api.cluster, uuid.UUID(job["id"]), settings=get_config().recount, budget_seconds=None)
    done = read_recount(api, job)
    assert (done["state"], done["error"], done["videos_done"], done["videos_total"]) == ("done", None, 1, 1)
    assert done["actor"].startswith("API key admin (")
    assert done["difference_counts"] == {"total": 1}
    [row] = done["differences"]
    assert row["found"] == {"count": 1, "sum": 2, "min": 3, "max": 4}
    assert row["expected"] == dict(zip(("count", "sum", "min", "max"), right, strict=True))
    assert counted.read("event_total")[video, 1] == right
    listed = api.get("/v1/recounts", "/v1/recounts", scope="admin")["recounts"]
    assert [other["id"] for other in listed] == [job["id"]]


def test_a_recount_of_a_partition_only_shows_unless_asked_to_apply(api, counted):
    before = counted.read("event_total")
    counted.execute("UPDATE event_total SET count = 0")
    job = ask(api, {"partition": PARTITION})
    run_recount(api.cluster, uuid.UUID(job["id"]), settings=get_config().recount, budget_seconds=None)
    done = read_recount(api, job)
    assert (done["state"], done["apply"], done["difference_counts"]) == ("done", False, {"total": len(before)})
    assert {figures[0] for figures in counted.read("event_total").values()} == {0}


def test_recounts_are_listed_page_by_page_newest_first(api):
    RecountJob.objects.all().delete()
    asked = [ask(api, {"partition": partition})["id"] for partition in range(5)]
    found, query = [], "limit=2"
    while query:
        page = api.get(f"/v1/recounts?{query}", "/v1/recounts", scope="admin")
        assert len(page["recounts"]) <= 2
        found += [job["id"] for job in page["recounts"]]
        query = page["next_cursor"] and f"limit=2&cursor={page['next_cursor']}"
    assert found == asked[::-1]
    for query, field in (("limit=51", "limit"), ("limit=0", "limit"), ("cursor=x", "cursor")):
        answer = api.call("GET", f"/v1/recounts?{query}", scope="admin")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "one_target"),
        ({"video_id": "a", "partition": 1}, "one_target"),
        ({"partition": 32_000}, "unknown_partition"),
        ({"partition": -1}, "min_value"),
        ({"video_id": "a b"}, "invalid_id"),
        ({"video_id": "a", "aply": True}, "unknown_field"),
    ],
)
def test_recounts_that_name_nothing_to_recount_are_refused(api, body, code):
    RecountJob.objects.all().delete()
    answer = api.call("POST", "/v1/recounts", body=body, scope="admin")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code)
    assert RecountJob.objects.count() == 0


def test_an_unknown_recount_is_404_and_all_of_it_needs_the_scope_admin(api):
    assert api.call("GET", f"/v1/recounts/{uuid.uuid4()}", scope="admin").status_code == 404
    for method, path in (
        ("GET", "/v1/audit?hour=2026-01-01T00:00:00Z"),
        ("GET", "/v1/recounts"),
        ("POST", "/v1/recounts"),
    ):
        assert api.call(method, path, scope="stats:read").status_code == 403
