"""ETag, 304 and Cache-Control of read answers."""

from datetime import timedelta

import pytest

from tests.integration.queries.rows import DAY, WATERMARK, MinuteRow, await_replicas, store_rows

COUNTS = "/v1/videos/cats/counts"
CLOSED = "start_time=2026-01-31T00:00:00Z&end_time=2026-01-31T02:00:00Z"
OPEN = "start_time=2026-01-31T00:00:00Z&end_time=2026-01-31T03:00:00Z"
STATS = "/v1/videos/cats/stats?event_type=view&"
SHORTLY = "private, max-age=1"
FOR_AN_HOUR = "private, max-age=3600, immutable"
PATHS = [
    COUNTS,
    STATS + OPEN,
    STATS + CLOSED,
    "/v1/top?event_type=view",
    "/v1/channels/pets/counts",
    "/v1/channels/pets/stats?event_type=view",
    "/v1/events?video_id=cats",
]


@pytest.fixture
def watched(api):
    """A view at midnight; what happened before two o'clock is not counted any more."""
    store_rows(api.cluster, [MinuteRow("cats", 1, DAY, (1000,))])
    admit(api, since=DAY + timedelta(hours=2))
    return api


def admit(api, *, since):
    for shard in api.cluster.topology.shards:
        with api.cluster.shard_transaction(shard.id) as connection:
            connection.execute("UPDATE partition_state SET admits_since = %s", [since])
    await_replicas(api.cluster)


@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_has_the_answer_is_told_so_without_a_body(watched, path):
    first = watched.call("GET", path)
    assert first.status_code == 200
    assert first["ETag"].startswith('"') and first["Vary"].split(", ")[0] == "Authorization"
    for known in (first["ETag"], f"W/{first['ETag']}", f'"other", {first["ETag"]}', "*"):
        for method in ("GET", "HEAD"):
            again = watched.call(method, path, headers={"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b"")
            for name in ("ETag", "Cache-Control", "Vary"):
                assert again[name] == first[name]
    for known in ('"other"', "cats"):
        assert watched.call("GET", path, headers={"If-None-Match": known}).status_code == 200


def test_another_count_or_completeness_is_another_answer(watched):
    before = watched.call("GET", COUNTS)["ETag"]
    store_more(watched)
    after = watched.call("GET", COUNTS, headers={"If-None-Match": before})
    assert (after.status_code, after.json()["counts"]["view"]) == (200, 2)
    partitions = range(watched.cluster.topology.partition_count)
    await_replicas(watched.cluster, watermarks=dict.fromkeys(partitions, WATERMARK + timedelta(seconds=1)))
    later = watched.call("GET", COUNTS, headers={"If-None-Match": after["ETag"]})
    assert (later.status_code, later.json()["counts"]) == (200, after.json()["counts"])


def store_more(api):
    for shard in api.cluster.topology.shards:
        with api.cluster.shard_transaction(shard.id) as connection:
            connection.execute("UPDATE event_total SET count = count + 1")
    await_replicas(api.cluster)


def test_only_a_closed_window_of_a_video_may_be_kept_for_long(watched):
    kept = {path: watched.call("GET", path)["Cache-Control"] for path in PATHS}
    assert kept == dict.fromkeys(PATHS, SHORTLY) | {
        STATS + CLOSED: FOR_AN_HOUR,
        "/v1/events?video_id=cats": "private, no-cache",
    }
    # Titles and channels may change at any time, whatever the period.
    for path in (f"/v1/top?event_type=view&{CLOSED}", f"/v1/channels/pets/stats?event_type=view&{CLOSED}"):
        assert watched.call("GET", path)["Cache-Control"] == SHORTLY


@pytest.mark.parametrize("demand", ["consistency=strong", "consistency=quorum", "min_position=1-0", "explain=route"])
def test_whoever_asks_how_new_an_answer_is_keeps_nothing(watched, demand):
    response = watched.call("GET", f"{STATS}{CLOSED}&{demand}")
    assert (response.status_code, response["Cache-Control"]) == (200, "no-store")


def test_an_answer_to_a_list_of_videos_is_not_kept(watched):
    response = watched.call("POST", "/v1/counts/query", body={"video_ids": ["cats"]})
    assert (response.status_code, response["Cache-Control"], "ETag" in response) == (200, "no-store", False)


def test_a_condition_that_is_not_met_is_refused(watched):
    response = watched.call("GET", COUNTS, headers={"If-Match": '"other"'})
    assert (response.status_code, response.json()["code"]) == (412, "precondition_failed")
    assert response["Vary"] == "Authorization"


def test_an_error_carries_no_etag(watched):
    response = watched.call("GET", f"{STATS}start_time=yesterday", headers={"If-None-Match": "*"})
    assert (response.status_code, "ETag" in response) == (422, False)
