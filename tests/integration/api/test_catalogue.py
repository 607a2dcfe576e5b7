"""The catalogue over HTTP, and its titles in answers."""

import pytest

from tests.integration.catalogue.state import read_catalogue
from tests.integration.queries.rows import DAY, MinuteRow, await_replicas, store_rows
from viewcounter.catalogue.sync import sync_catalogue


def errors_of(response):
    assert response.status_code == 422
    return [(error["field"], error["code"]) for error in response.json()["errors"]]


def put(api, path, body, **options):
    return api.call("PUT", path, body=body, scope="admin", **options)


def test_put_creates_then_replaces_and_the_same_again_changes_nothing(api):
    assert put(api, "/v1/channels/c1", {"title": "One"}).status_code == 201
    created = put(api, "/v1/videos/v1", {"title": "Cats", "channel_id": "c1"})
    before = read_catalogue()
    revision = before[1]["v1"][2]
    assert created.status_code == 201
    assert created.json() == {"video_id": "v1", "title": "Cats", "channel_id": "c1", "revision": revision}
    assert put(api, "/v1/videos/v1", {"title": "Cats", "channel_id": "c1"}).status_code == 200
    assert put(api, "/v1/channels/c1", {"title": "One"}).status_code == 200
    assert read_catalogue() == before
    assert put(api, "/v1/videos/v1", {"title": "Dogs"}).json() == {
        "video_id": "v1",
        "title": "Dogs",
        "channel_id": None,
        "revision": revision + 1,
    }
    assert api.get("/v1/videos/v1", "/v1/videos/{video_id}")["title"] == "Dogs"
    assert api.get("/v1/channels/c1", "/v1/channels/{channel_id}") == {
        "channel_id": "c1",
        "title": "One",
        "revision": before[0]["c1"][1],
    }


def test_what_the_catalogue_does_not_have_is_not_found(api):
    for path in ("/v1/videos/nobody", "/v1/channels/nobody"):
        response = api.call("GET", path)
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, [("title", "required")]),
        ([], [("", "invalid")]),
        ({"title": 7}, [("title", "invalid")]),
        ({"title": "a", "channel": "c1"}, [("channel", "unknown_field")]),
        ({"title": "a", "channel_id": "nobody"}, [("channel_id", "unknown_channel")]),
        ({"title": "a", "channel_id": "a b"}, [("channel_id", "invalid_id")]),
        ({"title": "x" * 501}, [("title", "max_length")]),
    ],
)
def test_a_bad_put_names_the_field_and_changes_nothing(api, body, errors):
    assert errors_of(put(api, "/v1/videos/v1", body)) == errors
    assert read_catalogue() == ({}, {})


@pytest.mark.parametrize("title", ["a\x00b", "a\ud800b"])
def test_text_that_no_database_takes_is_refused(api, title):
    assert {field for field, _ in errors_of(put(api, "/v1/videos/v1", {"title": title}))} == {"title"}


def test_a_bad_id_in_a_put_is_refused(api):
    assert errors_of(put(api, f"/v1/videos/{'x' * 300}", {"title": "a"})) == [("video_id", "too_long")]
    assert errors_of(put(api, "/v1/channels/a%20b", {"title": "a"})) == [("channel_id", "invalid_id")]


def test_an_import_is_all_or_nothing_and_may_run_twice(api):
    body = {
        "channels": [{"channel_id": f"c{i}", "title": f"Channel {i}"} for i in range(100)],
        "videos": [{"video_id": f"v{i}", "title": f"Video {i}", "channel_id": f"c{i % 100}"} for i in range(900)],
    }
    assert api.post("/v1/catalogue/import", body, scope="admin") == {"created": 1000, "updated": 0}
    assert api.post("/v1/catalogue/import", body, scope="admin") == {"created": 0, "updated": 0}
    before = read_catalogue()
    bad = {"videos": [{"video_id": "v1", "title": "New"}, {"video_id": "v2", "title": "", "channel_id": "nobody"}]}
    response = api.call("POST", "/v1/catalogue/import", body=bad, scope="admin")
    assert errors_of(response) == [("videos[1].channel_id", "unknown_channel")]
    assert read_catalogue() == before


def test_an_import_of_too_many_or_bad_entries_names_them(api):
    many = {"videos": [{"video_id": f"v{i}", "title": ""} for i in range(1001)]}
    assert errors_of(api.call("POST", "/v1/catalogue/import", body=many, scope="admin")) == [("", "too_many_items")]
    bad = {"channels": [{"channel_id": "c1", "title": ""}, {"channel_id": "a b", "title": ""}]}
    assert errors_of(api.call("POST", "/v1/catalogue/import", body=bad, scope="admin")) == [
        ("channels[1].channel_id", "invalid_id")
    ]


def test_a_title_that_was_put_stands_in_top_once_the_shards_have_it(api):
    store_rows(api.cluster, [MinuteRow("v1", 1, DAY, (1000,))])
    put(api, "/v1/videos/v1", {"title": "Cats 🎬"})
    assert api.get("/v1/top?event_type=view", "/v1/top")["items"][0]["title"] is None
    while sync_catalogue(api.cluster, batch=1000):
        pass
    await_replicas(api.cluster)
    assert api.get("/v1/top?event_type=view", "/v1/top")["items"] == [
        {"video_id": "v1", "title": "Cats 🎬", "value": 1}
    ]
