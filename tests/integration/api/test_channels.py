"""Statistics of a channel over HTTP: the same parameters as of a video, and how fresh the catalogue behind them is."""

from datetime import timedelta

import pytest

from tests.integration.api.conftest import Api
from tests.integration.queries.rows import DAY, MinuteRow, await_replicas, find_videos_by_shard, store_rows
from viewcounter.catalogue.sync import sync_catalogue

COUNTS = "/v1/channels/{channel_id}/counts"
STATS = "/v1/channels/{channel_id}/stats"


@pytest.fixture
def channel(api: Api) -> int:
    """Channel c1 with one video a shard, two views each, an hour apart; returns the revision of its last change."""
    videos = [own for own, *_ in find_videos_by_shard(api.cluster, per_shard=1).values()]
    store_rows(api.cluster, [MinuteRow(v, 1, DAY + timedelta(hours=h), (1000,)) for v in videos for h in (0, 1)])
    api.call("PUT", "/v1/channels/c1", body={"title": "One"}, scope="admin")
    for video_id in videos:
        body = {"title": video_id, "channel_id": "c1"}
        revision = api.call("PUT", f"/v1/videos/{video_id}", body=body, scope="admin").json()["revision"]
    while sync_catalogue(api.cluster, batch=100):
        pass
    await_replicas(api.cluster)
    return revision


def test_counts_of_a_channel_are_those_of_its_videos_on_every_shard(api: Api, channel: int):
    answer = api.get("/v1/channels/c1/counts", COUNTS)
    assert answer["channel_id"] == "c1"
    assert answer["counts"]["view"] == 2 * len(api.cluster.topology.shards)
    assert answer["counts"]["like"] == 0
    assert answer["meta"]["catalogue_revision"] == channel
    assert (answer["meta"]["partial"], answer["meta"]["source"]) == (False, ["total"])


def test_stats_of_a_channel_take_the_parameters_of_a_video(api: Api, channel: int):
    query = "event_type=view&start_time=2026-01-31T00:00:00Z&end_time=2026-01-31T02:00:00Z&interval=hour&tz=Asia/Tokyo"
    answer = api.get(f"/v1/channels/c1/stats?{query}", STATS)
    shards = len(api.cluster.topology.shards)
    assert answer["value"] == 2 * shards
    assert answer["series"] == [
        {"start": "2026-01-31T09:00:00+09:00", "value": shards},
        {"start": "2026-01-31T10:00:00+09:00", "value": shards},
    ]
    assert answer["meta"]["catalogue_revision"] == channel
    assert api.get("/v1/channels/c1/stats?event_type=view&function=sum", STATS)["value"] == 2 * shards


def test_bad_questions_about_channels_are_refused_by_name(api: Api):
    for query, field in (("", "event_type"), ("event_type=wink", "event_type"), ("event_type=view&tz=Mars", "tz")):
        response = api.call("GET", f"/v1/channels/c1/stats?{query}")
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field)
    assert api.call("GET", "/v1/channels/c1/counts?tz=UTC").status_code == 422
    assert api.call("GET", "/v1/channels/c1/counts", scope="events:write").status_code == 403
