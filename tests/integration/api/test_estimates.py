"""Estimates over HTTP: of a video and of a channel, with their error, and refused where they make no sense."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.integration.api.conftest import Api
from tests.integration.queries.rows import MinuteRow, await_replicas, find_videos_by_shard, store_rows
from tests.settings import configure
from viewcounter.catalogue.sync import sync_catalogue
from viewcounter.events.partition import get_partition

VIDEO_STATS = "/v1/videos/{video_id}/stats"
CHANNEL_STATS = "/v1/channels/{channel_id}/stats"
WATCH_TIME = 6
HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
QUARTER = timedelta(minutes=15)


@pytest.fixture
def videos(api: Api) -> list[str]:
    """One a shard, all of channel c1: 1 to 4 s of watch time in the first quarter hour, 10 s in the third.

    Who watches for 4 s is nobody; viewer 1000 watches each video for 1 s, the others are another on each shard.
    """
    videos = [own for own, *_ in find_videos_by_shard(api.cluster, per_shard=1).values()]
    rows = [
        MinuteRow(video, WATCH_TIME, HOUR + quarter * QUARTER, values)
        for video in videos
        for quarter, values in ((0, (1000, 2000, 3000, 4000)), (2, (10_000,)))
    ]
    store_rows(api.cluster, rows)
    for row in rows:
        partition = get_partition(row.video_id, partition_count=api.cluster.topology.partition_count)
        with api.cluster.transaction(partition) as connection:
            for value in row.values:
                viewer = {1000: 1000, 4000: 0}.get(value, value + videos.index(row.video_id))
                connection.execute(
                    "INSERT INTO raw_event (partition, event_type_id, received_at, occurred_at, value, viewer,"
                    " event_id, video_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                    [partition, row.type_id, row.start, row.start, value, viewer, uuid4(), row.video_id],
                )
    api.call("PUT", "/v1/channels/c1", body={"title": "One"}, scope="admin")
    for video in videos:
        api.call("PUT", f"/v1/videos/{video}", body={"title": video, "channel_id": "c1"}, scope="admin")
    while sync_catalogue(api.cluster, batch=100):
        pass
    await_replicas(api.cluster)
    return videos


def ask(function: str, **more: str) -> str:
    edges = {"start_time": HOUR, "end_time": HOUR + 4 * QUARTER}
    query = {name: f"{edge:%Y-%m-%dT%H:%M:%SZ}" for name, edge in edges.items()} | more
    return "&".join(f"{k}={v}" for k, v in {"event_type": "watch_time", "function": function, **query}.items())


def test_a_percentile_of_a_video_comes_with_its_error_series_and_comparison(api: Api, videos: list[str]):
    path = f"/v1/videos/{videos[0]}/stats?{ask('p50', interval='15m', fill='zero', compare='previous')}"
    answer = api.get(path, VIDEO_STATS)
    assert (answer["function"], answer["value"]) == ("p50", 3)
    assert [bucket["value"] for bucket in answer["series"]] == [2, None, 10, None]
    assert answer["meta"]["approximate"] == {"p50": {"rank_error": 0.0133, "k": 200}}
    assert answer["meta"]["source"] == ["raw"]
    assert (answer["previous"]["value"], answer["delta"], answer["ratio"]) == (None, None, None)
    etag = api.call("GET", path)["ETag"]
    assert api.call("GET", path, headers={"If-None-Match": etag}).status_code == 304


def test_a_percentile_of_a_channel_is_of_all_its_videos_values(api: Api, videos: list[str]):
    answer = api.get(f"/v1/channels/c1/stats?{ask('p90', interval='hour')}", CHANNEL_STATS)
    assert (answer["value"], [bucket["value"] for bucket in answer["series"]]) == (10, [10])
    # of 1 to 4 on each shard: any mean or sum of the shards' own answers would be another
    until = f"{HOUR + QUARTER:%Y-%m-%dT%H:%M:%SZ}"
    assert api.get(f"/v1/channels/c1/stats?{ask('p50', end_time=until)}", CHANNEL_STATS)["value"] == 2
    assert answer["meta"]["approximate"] == {"p90": {"rank_error": 0.0133, "k": 200}}
    assert answer["meta"]["catalogue_revision"] > 0


def test_a_viewer_of_several_videos_of_a_channel_counts_once(api: Api, videos: list[str]):
    assert len(videos) == 2
    query = ask("unique_viewers", interval="15m", fill="zero")
    answer = api.get(f"/v1/videos/{videos[0]}/stats?{query}", VIDEO_STATS)
    assert (answer["value"], [bucket["value"] for bucket in answer["series"]]) == (4, [3, 0, 1, 0])
    answer = api.get(f"/v1/channels/c1/stats?{query}", CHANNEL_STATS)
    assert (answer["value"], [bucket["value"] for bucket in answer["series"]]) == (7, [5, 0, 2, 0])
    assert answer["meta"]["approximate"] == {"unique_viewers": {"relative_standard_error": 0.0162, "lg_k": 12}}


def test_a_table_of_estimates_says_so_in_a_header(api: Api, videos: list[str]):
    path = f"/v1/videos/{videos[0]}/stats?{ask('p95', interval='15m')}"
    response = api.call("GET", path, headers={"Accept": "text/csv"})
    assert response["X-Approximate"] == "p95;rank_error=0.0133;k=200"
    rows = response.content.decode().splitlines()
    assert rows[0] == "video_id,event_type,function,start,value"
    assert [row.rsplit(",", 1)[1] for row in rows[1:]] == ["4", "10"]
    exact = api.call("GET", f"/v1/videos/{videos[0]}/stats?{ask('max')}", headers={"Accept": "text/csv"})
    assert "X-Approximate" not in exact


def test_a_video_never_seen_has_no_percentile(api: Api):
    answer = api.get("/v1/videos/never/stats?event_type=watch_time&function=p99", VIDEO_STATS)
    assert (answer["value"], answer["start_time"]) == (None, None)


def test_estimates_are_refused_where_there_are_none(api: Api):
    for path, field, code in (
        ("/v1/videos/v/stats?event_type=view&function=p50", "function", "no_values"),
        ("/v1/channels/c/stats?event_type=view&function=p50", "function", "no_values"),
        ("/v1/videos/v/stats?event_type=watch_time&function=p51", "function", "unknown_function"),
        ("/v1/top?event_type=watch_time&function=p50", "function", "unknown_function"),
        ("/v1/top?event_type=view&function=unique_viewers", "function", "unknown_function"),
    ):
        response = api.call("GET", path)
        [error] = response.json()["errors"]
        assert (response.status_code, error["field"], error["code"]) == (422, field, code)


def test_closed_hours_without_sketches_that_are_too_many_are_a_503(api: Api, videos: list[str], monkeypatch):
    with api.cluster.transaction(
        get_partition(videos[0], partition_count=api.cluster.topology.partition_count)
    ) as connection:
        connection.execute("UPDATE partition_state SET rolled_through = %s", [HOUR + 4 * QUARTER])
        connection.execute(
            "INSERT INTO event_hour SELECT partition, video_id, event_type_id, %s, sum(count), sum(sum), min(min),"
            " max(max) FROM event_minute GROUP BY 1, 2, 3",
            [HOUR],
        )
    monkeypatch.setattr("viewcounter.api.resources.stats.get_config", lambda: configure(sketch_read_max_events=4))
    response = api.call("GET", f"/v1/videos/{videos[0]}/stats?{ask('p50', consistency='strong')}")
    assert (response.status_code, response.json()["code"]) == (503, "sketches_behind")
    assert response["Retry-After"] == "1"
