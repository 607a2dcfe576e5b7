"""Counts, statistics and top lists over HTTP."""

from datetime import timedelta
from urllib.parse import quote, urlencode

import pytest

from tests.integration.queries.rows import DAY, MinuteRow, find_videos_by_shard, store_rows

COUNTS = "/v1/videos/{video_id}/counts"
STATS = "/v1/videos/{video_id}/stats"
ZEROS = {"view": 0, "like": 0, "dislike": 0, "comment": 0, "share": 0, "watch_time": 0}


def stats_path(video_id, **parameters):
    return f"/v1/videos/{quote(video_id, safe='')}/stats?{urlencode(parameters)}"


@pytest.fixture
def watched(api):
    """One video: 2 views at 00:00, watch times of 1.5 and 2.5 s at 00:59 and of 8 s at 01:00."""
    minutes = [(1, 0, (1000, 1000)), (6, 59, (1500, 2500)), (6, 60, (8000,))]
    store_rows(api.cluster, [MinuteRow("cats", t, DAY + timedelta(minutes=m), values) for t, m, values in minutes])
    return api


def test_counts_name_every_type_and_may_be_kept_for_a_second_by_their_reader(watched):
    response = watched.call("GET", "/v1/videos/cats/counts", headers={"X-Request-ID": "abc-1"})
    assert response["Cache-Control"] == "private, max-age=1"
    assert response["X-Request-ID"] == "abc-1"
    body = watched.get("/v1/videos/cats/counts", COUNTS)
    assert (body["video_id"], body["counts"]) == ("cats", ZEROS | {"view": 2, "watch_time": 3})
    meta = body["meta"]
    assert meta.pop("as_of").endswith("Z")
    assert meta == {
        "complete_until": "2026-02-03T12:00:00Z",
        "stale": False,
        "partial": False,
        "missing": [],
        "source": ["total"],
    }


@pytest.mark.parametrize("video_id", ["never-seen", "🎬", "it's;--", 'a"b', "100%", "x" * 128, "é", "?&=#"])
def test_a_video_never_seen_has_zeros_whatever_its_id(api, video_id):
    body = api.get(f"/v1/videos/{quote(video_id, safe='')}/counts", COUNTS)
    assert (body["video_id"], body["counts"]) == (video_id, ZEROS)


@pytest.mark.parametrize(
    ("video_id", "code"),
    [("x" * 129, "too_long"), ("x" * 300, "too_long"), ("a%00b", "invalid_id"), ("a%20b", "invalid_id")],
)
@pytest.mark.parametrize("suffix", ["", "/counts", "/stats?event_type=view"])
def test_an_id_that_no_event_can_carry_is_refused(api, video_id, code, suffix):
    response = api.call("GET", f"/v1/videos/{video_id}{suffix}")
    assert response.status_code == 422
    assert [(e["field"], e["code"]) for e in response.json()["errors"]] == [("video_id", code)]


@pytest.mark.parametrize(
    ("function", "value", "series"),
    [
        ("count", 3, [2, 1]),
        ("sum", 12, [4, 8]),
        ("average", 4, [2, 8]),
        ("min", 1.5, [1.5, 8]),
        ("max", 8, [2.5, 8]),
    ],
)
def test_stats_by_hour_and_in_all(watched, function, value, series):
    parameters = {
        "event_type": "watch_time",
        "function": function,
        "start_time": "2026-01-31T00:00:59.9Z",
        "end_time": "2026-01-31T04:00:00+02:00",
        "interval": "hour",
    }
    body = watched.get(stats_path("cats", **parameters), STATS)
    assert body["value"] == value
    assert type(body["value"]) is type(value)
    starts = ["2026-01-31T00:00:00Z", "2026-01-31T01:00:00Z"]
    assert body["series"] == [{"start": s, "value": v} for s, v in zip(starts, series, strict=True)]
    assert (body["start_time"], body["end_time"]) == ("2026-01-31T00:00:00Z", "2026-01-31T02:00:00Z")
    assert (body["interval"], body["function"], body["meta"]["source"]) == ("hour", function, ["minute"])


def test_buckets_of_a_zone_begin_at_its_edges_and_show_its_offset(watched):
    parameters = {"start_time": "2026-01-30T23:00:00Z", "end_time": "2026-02-01T00:00:00Z", "fill": "zero"}
    query = {"event_type": "watch_time", "function": "sum", "interval": "day", "tz": "Asia/Kathmandu", **parameters}
    body = watched.get(stats_path("cats", **query), STATS)
    assert body["tz"] == "Asia/Kathmandu"
    assert body["series"] == [
        {"start": "2026-01-31T00:00:00+05:45", "value": 12},
        {"start": "2026-02-01T00:00:00+05:45", "value": 0},
    ]


@pytest.mark.parametrize(
    ("interval", "starts"),
    [
        ("5m", ["2026-01-31T00:55:00Z", "2026-01-31T01:00:00Z"]),
        ("15m", ["2026-01-31T00:45:00Z", "2026-01-31T01:00:00Z"]),
        ("30m", ["2026-01-31T00:30:00Z", "2026-01-31T01:00:00Z"]),
        ("week", ["2026-01-26T00:00:00Z"]),
        ("month", ["2026-01-01T00:00:00Z"]),
        ("quarter", ["2026-01-01T00:00:00Z"]),
        ("year", ["2026-01-01T00:00:00Z"]),
    ],
)
def test_intervals_of_the_clock_and_of_the_calendar(watched, interval, starts):
    parameters = {"start_time": "2026-01-31T00:50:00Z", "end_time": "2026-02-01T00:00:00Z", "interval": interval}
    body = watched.get(stats_path("cats", event_type="watch_time", **parameters), STATS)
    assert ([bucket["start"] for bucket in body["series"]], body["tz"]) == (starts, "UTC")
    assert sum(bucket["value"] for bucket in body["series"]) == body["value"] == 3


def test_a_week_begins_on_the_day_that_is_named(watched):
    parameters = {"start_time": "2026-01-31T00:50:00Z", "end_time": "2026-02-01T00:00:00Z", "interval": "week"}
    for week_start, start in (("Sunday", "2026-01-25T00:00:00Z"), ("saturday", "2026-01-31T00:00:00Z")):
        body = watched.get(stats_path("cats", event_type="watch_time", week_start=week_start, **parameters), STATS)
        assert ([b["start"] for b in body["series"]], body["week_start"]) == ([start], week_start.lower())


def test_without_an_interval_there_is_a_value_and_no_series(watched):
    body = watched.get(stats_path("cats", event_type="watch_time"), STATS)
    assert (body["value"], body["start_time"], body["end_time"]) == (3, None, None)
    assert body["meta"]["source"] == ["total"]
    assert "series" not in body


def test_fill_zero_gives_every_bucket(watched):
    parameters = {"start_time": "2026-01-31T00:00:00Z", "end_time": "2026-02-02T00:00:00Z", "interval": "day"}
    body = watched.get(stats_path("cats", event_type="view", fill="zero", **parameters), STATS)
    assert [bucket["value"] for bucket in body["series"]] == [2, 0]
    body = watched.get(stats_path("cats", event_type="view", fill="zero", function="max", **parameters), STATS)
    assert [bucket["value"] for bucket in body["series"]] == [1, None]


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("", "event_type", "required"),
        ("event_type=", "event_type", "required"),
        ("event_type=wiev", "event_type", "unknown_event_type"),
        ("event_type=%00", "event_type", "unknown_event_type"),
        ("event_type=view&function=median", "function", "unknown_function"),
        ("event_type=view&function=", "function", "unknown_function"),
        ("event_type=view&interval=decade&start_time=2026-01-01T00:00:00Z", "interval", "unknown_interval"),
        ("event_type=view&interval=hour", "start_time", "required"),
        ("event_type=view&interval=hour&start_time=2026-01-01T00:00:00Z", "end_time", "required"),
        ("event_type=view&start_time=2026-01-01T00:00:00", "start_time", "missing_offset"),
        ("event_type=view&start_time=2026-01-01T00:00:00+01:00", "start_time", "invalid_time"),
        ("event_type=view&start_time=now", "start_time", "invalid_time"),
        (
            "event_type=view&start_time=2026-01-02T00:00:00Z&end_time=2026-01-01T00:00:00Z",
            "end_time",
            "end_before_start",
        ),
        (
            "event_type=view&interval=minute&start_time=2016-01-01T00:00:00Z&end_time=2026-01-01T00:00:00Z",
            "interval",
            "too_many_buckets",
        ),
        ("event_type=view&fill=none&fill=zero", "fill", "repeated_parameter"),
        ("event_type=view&fill=previous", "fill", "unknown_fill"),
        ("event_type=view&tz=Europe/Atlantis", "tz", "unknown_time_zone"),
        ("event_type=view&tz=", "tz", "unknown_time_zone"),
        ("event_type=view&week_start=1", "week_start", "unknown_week_start"),
        ("event_type=view&compare=next", "compare", "unknown_comparison"),
        ("event_type=view&tz=UTC&tz=UTC", "tz", "repeated_parameter"),
        ("event_type=view&from=2026-01-01T00:00:00Z", "from", "unknown_parameter"),
    ],
)
def test_a_question_that_cannot_be_answered_names_its_parameter(api, query, field, code):
    response = api.call("GET", f"/v1/videos/cats/stats?{query}")
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_request"
    assert [(e["field"], e["code"]) for e in response.json()["errors"]] == [(field, code)]


def test_too_many_buckets_name_the_bound_and_the_number_asked(api):
    path = stats_path(
        "cats",
        event_type="view",
        interval="minute",
        start_time="2016-01-01T00:00:00Z",
        end_time="2026-01-01T00:00:00Z",
    )
    message = api.call("GET", path).json()["errors"][0]["message"]
    assert "5260320" in message
    assert "1500" in message


def test_many_counts_come_in_the_order_asked(api):
    videos = [v for own in find_videos_by_shard(api.cluster, per_shard=3).values() for v in own]
    store_rows(api.cluster, [MinuteRow(v, 1, DAY, (1000,) * (i + 1)) for i, v in enumerate(videos)])
    asked = [*reversed(videos), "never-seen"]
    body = api.post("/v1/counts/query", {"video_ids": asked})
    assert [video["video_id"] for video in body["videos"]] == asked
    assert [video["counts"] for video in body["videos"]] == [
        *(ZEROS | {"view": n} for n in range(len(videos), 0, -1)),
        ZEROS,
    ]
    assert (body["meta"]["partial"], body["meta"]["missing"]) == (False, [])


def test_five_hundred_videos_are_answered_and_one_more_is_refused(api):
    body = api.post("/v1/counts/query", {"video_ids": [f"v{i}" for i in range(500)]})
    assert [video["video_id"] for video in body["videos"]] == [f"v{i}" for i in range(500)]
    response = api.call("POST", "/v1/counts/query", body={"video_ids": [f"v{i}" for i in range(501)]})
    assert response.status_code == 422
    assert [(e["field"], e["code"]) for e in response.json()["errors"]] == [("video_ids", "max_length")]


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("", "event_type", "required"),
        ("event_type=view&limit=0", "limit", "out_of_bounds"),
        ("event_type=view&limit=501", "limit", "out_of_bounds"),
        ("event_type=view&limit=ten", "limit", "not_an_integer"),
        ("event_type=view&interval=day", "interval", "unknown_parameter"),
    ],
)
def test_a_bad_top_question_names_its_parameter(api, query, field, code):
    response = api.call("GET", f"/v1/top?{query}")
    assert response.status_code == 422
    assert [(e["field"], e["code"]) for e in response.json()["errors"]] == [(field, code)]


def test_top_ranks_all_shards_together(api):
    videos = [v for own in find_videos_by_shard(api.cluster, per_shard=8).values() for v in own]
    store_rows(
        api.cluster,
        [MinuteRow(v, 1, DAY, (1000,) * (i + 1)) for i, v in enumerate(videos)],
        titles={videos[-1]: "Best"},
    )
    body = api.get("/v1/top?event_type=view", "/v1/top")
    best = list(enumerate(videos, start=1))[:-11:-1]
    assert body["items"] == [
        {"video_id": video_id, "title": "Best" if video_id == videos[-1] else None, "value": n} for n, video_id in best
    ]
    body = api.get("/v1/top?event_type=view&limit=1&start_time=2026-02-01T00:00:00Z", "/v1/top")
    assert (body["items"], body["start_time"], body["end_time"]) == ([], "2026-02-01T00:00:00Z", None)


def test_a_period_is_compared_with_the_one_before_it(watched):
    hour = {"event_type": "watch_time", "start_time": "2026-01-31T01:00:00Z", "end_time": "2026-01-31T02:00:00Z"}
    body = watched.get(stats_path("cats", **hour, function="sum", compare="previous"), STATS)
    assert (body["value"], body["delta"], body["ratio"]) == (8, 4, 2.0)
    previous = body["previous"]
    assert previous.pop("meta")["source"] == ["minute"]
    assert previous == {"start_time": "2026-01-31T00:00:00Z", "end_time": "2026-01-31T01:00:00Z", "value": 4}
    body = watched.get(stats_path("cats", **hour, compare="previous", interval="15m"), STATS)
    assert [bucket["value"] for bucket in body["previous"]["series"]] == [2]
    answer = watched.call("GET", stats_path("cats", event_type="view", compare="previous"))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "start_time")


def test_a_month_is_compared_with_the_one_before_or_a_year_before(watched):
    february = {"event_type": "view", "start_time": "2026-01-31T23:00:00Z", "end_time": "2026-02-28T23:00:00Z"}
    for compare, start, end, value in (
        ("previous", "2025-12-31T23:00:00Z", "2026-01-31T23:00:00Z", 2),
        ("year", "2025-01-31T23:00:00Z", "2025-02-28T23:00:00Z", 0),
    ):
        body = watched.get(stats_path("cats", **february, tz="europe/berlin", compare=compare), STATS)
        previous = body["previous"]
        assert (previous["start_time"], previous["end_time"], previous["value"]) == (start, end, value)
        assert body["delta"] == body["value"] - value


def test_zones_are_named_in_any_case_or_by_an_offset_and_shown_by_one_name(watched):
    day = {"start_time": "2026-01-31T00:00:00Z", "end_time": "2026-01-31T12:00:00Z", "interval": "day", "fill": "zero"}
    for text, name, starts in (
        ("asia/KATHMANDU", "Asia/Kathmandu", ["2026-01-31T00:00:00+05:45"]),
        ("+05:30", "+05:30", ["2026-01-31T00:00:00+05:30"]),
        ("-03:30", "-03:30", ["2026-01-30T00:00:00-03:30", "2026-01-31T00:00:00-03:30"]),
        ("z", "UTC", ["2026-01-31T00:00:00Z"]),
    ):
        body = watched.get(stats_path("cats", event_type="view", tz=text, **day), STATS)
        assert (body["tz"], [bucket["start"] for bucket in body["series"]]) == (name, starts)
    unescaped = watched.call("GET", stats_path("cats", event_type="view", tz="+05:30", **day).replace("%2B", "+"))
    assert unescaped.json()["tz"] == "+05:30"


def test_a_table_keeps_the_offset_of_each_bucket(watched):
    night = {"start_time": "2026-10-24T23:00:00Z", "end_time": "2026-10-25T03:00:00Z", "tz": "Europe/Berlin"}
    path = stats_path("cats", event_type="view", interval="hour", fill="zero", **night)
    lines = watched.call("GET", path, headers={"Accept": "text/csv"}).content.decode().splitlines()
    assert [line.split(",")[3] for line in lines] == [
        "start",
        "2026-10-25T01:00:00+02:00",
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


def test_statistics_come_as_csv_for_who_asks_for_it(watched):
    path = stats_path("cats", event_type="view", start_time="2026-01-31T00:00:00Z", end_time="2026-01-31T02:00:00Z")
    answer = watched.call("GET", path, headers={"Accept": "text/csv"})
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.content.decode() == (
        "video_id,event_type,function,start_time,end_time,value\r\n"
        "cats,view,count,2026-01-31T00:00:00Z,2026-01-31T02:00:00Z,2\r\n"
    )
    assert (answer["X-Complete-Until"], answer["X-Partial"], answer["X-Stale"]) == (
        "2026-02-03T12:00:00Z",
        "false",
        "false",
    )
    assert "Accept" in answer["Vary"]
    assert answer["ETag"] != watched.call("GET", path)["ETag"]
    again = watched.call("GET", path, headers={"Accept": "text/csv", "If-None-Match": answer["ETag"]})
    assert again.status_code == 304
    assert watched.call("GET", path, headers={"Accept": "text/html"}).status_code == 406
    channel = watched.call("GET", "/v1/channels/pets/stats?event_type=view", headers={"Accept": "text/csv"})
    assert channel.content.decode().splitlines() == [
        "channel_id,event_type,function,start_time,end_time,value",
        "pets,view,count,,,0",
    ]
