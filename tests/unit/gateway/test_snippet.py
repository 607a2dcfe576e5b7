"""The script for web pages, as it is served and as it behaves in a page."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from tests.unit.gateway.page import NOW_MS, Page
from viewcounter.gateway.snippet import Snippet

KEY = {"key": "vcp_k"}


class Network:
    """What left the page. `takes_beacons`: whether the browser does. `statuses`: of posts, then 202; 0: no network."""

    def __init__(self, *, takes_beacons: bool = True, statuses: tuple[int, ...] = ()) -> None:
        self.takes_beacons = takes_beacons
        self.statuses = list(statuses)
        self.sent: list[tuple[str, str, list[dict[str, Any]]]] = []

    def beacon(self, url: str, body: str) -> bool:
        if self.takes_beacons:
            self.sent.append(("beacon", url, json.loads(body)))
        return self.takes_beacons

    def post(self, url: str, body: str) -> int:
        self.sent.append(("post", url, json.loads(body)))
        return self.statuses.pop(0) if self.statuses else 202

    @property
    def events(self) -> list[tuple[str, str, float | None]]:
        return [(e["event_type"], e["video_id"], e.get("value")) for _, _, batch in self.sent for e in batch]


def serve(method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(Snippet()({"method": method, "headers": lines}, None, send))  # type: ignore[arg-type]
    return sent[0]["status"], {n.decode(): v.decode() for n, v in sent[0]["headers"]}, sent[1]["body"]


def open_page(network: Network, **data: str) -> Page:
    return Page(serve()[2].decode(), data={**KEY, **data}, beacon=network.beacon, post=network.post)


def test_the_script_is_served_as_a_script_to_every_page_and_kept_by_its_tag() -> None:
    status, headers, body = serve()
    assert (status, headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert headers["content-length"] == str(len(body))
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "public, max-age=3600"
    assert headers["access-control-allow-origin"] == "*"
    assert serve("HEAD") == (200, headers, b"")
    for known in (headers["etag"], f'"other", W/{headers["etag"]}', "*"):
        status, again, body = serve(if_none_match=known)
        assert (status, body, again["etag"]) == (304, b"", headers["etag"])
    assert serve(if_none_match='"other"')[0] == 200


def test_a_page_that_names_its_video_sends_one_view_after_a_second() -> None:
    network = Network()
    page = open_page(network, video="v1")
    assert network.sent == []
    page.run("pass(1000);")
    [(way, url, [event])] = network.sent
    assert (way, url) == ("beacon", "https://counts.example/v1/events?key=vcp_k")
    assert set(event) == {"event_id", "video_id", "event_type", "occurred_at"}
    assert (event["event_type"], event["video_id"]) == ("view", "v1")
    assert event["occurred_at"] == "2026-01-31T12:00:00.123Z"
    assert page.counters == {"tracked": 1, "sent": 1, "dropped": 0, "refused": 0}


def test_events_name_the_viewer_that_the_page_names_and_no_other() -> None:
    network = Network()
    page = open_page(network, video="v1", viewer="ada@example.com")
    page.run(
        'viewcounter.track("like", "v1"); viewcounter.setViewer(7); viewcounter.track("like", "v2");'
        'viewcounter.setViewer(null); viewcounter.track("like", "v3"); viewcounter.setViewer("");'
        'viewcounter.track("like", "v4"); viewcounter.flush();'
    )
    [(_, _, batch)] = network.sent
    assert [event.get("viewer_id", ...) for event in batch] == ["ada@example.com", "ada@example.com", "7", ..., ...]


def test_seconds_played_belong_to_whoever_watched_them() -> None:
    network = Network()
    page = open_page(network, viewer="ada")
    page.run('viewcounter.watch(media, "v1"); fire(media.on, "playing"); media.currentTime = 1.5;')
    page.run('viewcounter.setViewer("bob"); media.currentTime = 2; fire(media.on, "pause"); viewcounter.flush();')
    [(_, _, batch)] = network.sent
    assert [(event["event_type"], event.get("value"), event["viewer_id"]) for event in batch] == [
        ("view", None, "ada"),
        ("watch_time", 1.5, "ada"),
        ("watch_time", 0.5, "bob"),
    ]


@pytest.mark.parametrize("viewer", ["a b", "a\n", "v" * 129, "\x7f", "\u2028"])
def test_a_viewer_that_the_service_would_refuse_costs_no_event(viewer: str) -> None:
    network = Network()
    page = open_page(network, video="v1", viewer=viewer)
    page.run("pass(1000);")
    [(_, _, [event])] = network.sent
    assert "viewer_id" not in event
    assert "a viewer has" in page.run("return complaint;")


def test_a_viewer_of_128_characters_is_named_whatever_they_are() -> None:
    network = Network()
    page = open_page(network, video="v1", viewer="🎬" * 128)
    page.run("pass(1000);")
    assert network.sent[0][2][0]["viewer_id"] == "🎬" * 128


def test_ids_are_of_version_7_hold_the_events_time_and_differ() -> None:
    network = Network()
    page = open_page(network)
    page.run('for (let i = 0; i < 50; i++) viewcounter.track("view", "v1"); viewcounter.flush();')
    ids = [UUID(event["event_id"]) for event in network.sent[0][2]]
    assert len(set(ids)) == 50
    assert {(i.version, i.variant, i.int >> 80) for i in ids} == {(7, "specified in RFC 4122", NOW_MS)}


def test_events_are_sent_together_and_full_batches_at_once() -> None:
    network = Network()
    page = open_page(network)
    page.run('for (let i = 0; i < 250; i++) viewcounter.track("view", "v" + i);')
    assert [len(batch) for _, _, batch in network.sent] == [100, 100]
    page.run("pass(1000);")
    assert [video for _, video, _ in network.events] == [f"v{number}" for number in range(250)]


HIDE = 'document.visibilityState = "hidden"; fire(listeners, "visibilitychange");'


@pytest.mark.parametrize("leave", [HIDE, 'fire(listeners, "pagehide");'])
def test_a_page_that_is_left_sends_at_once_what_waits_and_what_was_watched(leave: str) -> None:
    network = Network()
    page = open_page(network, video="v1")
    page.run(
        'viewcounter.watch(media, "v2"); fire(media.on, "playing");'
        'media.currentTime = 1.5; fire(media.on, "timeupdate"); media.currentTime = 2.25;'
    )
    page.run(leave)
    assert network.events == [("view", "v1", None), ("view", "v2", None), ("watch_time", "v2", 2.25)]


def test_watch_time_is_what_was_played_not_where_the_video_was_moved_to() -> None:
    network = Network()
    page = open_page(network)
    page.run('viewcounter.watch(media, "v1"); fire(media.on, "playing");')
    for _ in range(23):
        page.run('media.currentTime += 0.5; fire(media.on, "timeupdate");')
    page.run('media.currentTime = 300; fire(media.on, "seeking"); fire(media.on, "timeupdate");')
    page.run('media.currentTime = 301; fire(media.on, "timeupdate"); fire(media.on, "pause");')
    page.run('media.currentTime = 302; fire(media.on, "timeupdate");')  # moved while paused
    page.run('fire(media.on, "playing"); media.currentTime = 302.25; fire(media.on, "ended"); pass(1000);')
    assert network.events == [
        ("view", "v1", None),
        ("watch_time", "v1", 10),
        ("watch_time", "v1", 2.5),
        ("watch_time", "v1", 0.25),
    ]


def test_what_the_browser_does_not_take_is_posted_again_under_the_same_ids_until_it_is_answered() -> None:
    network = Network(takes_beacons=False, statuses=(0, 503))
    page = open_page(network, video="v1")
    page.run("pass(1000);")
    assert page.counters["sent"] == 0
    page.run('viewcounter.track("like", "v1"); pass(2000);')
    page.run("pass(4000);")
    batches = [[event["event_id"] for event in batch] for _, _, batch in network.sent]
    assert [len(batch) for batch in batches] == [1, 2, 2]
    assert batches[0] == batches[1][:1] and batches[1] == batches[2]
    assert page.counters == {"tracked": 2, "sent": 2, "dropped": 0, "refused": 0}


def test_what_the_server_refuses_for_good_is_not_sent_again() -> None:
    network = Network(takes_beacons=False, statuses=(403,))
    page = open_page(network, video="v1")
    page.run("pass(60000);")
    assert len(network.sent) == 1
    assert page.counters["refused"] == 1


def test_a_page_without_a_network_keeps_a_bounded_number_of_events() -> None:
    network = Network(takes_beacons=False, statuses=(0,) * 1000)
    page = open_page(network)
    page.run('for (let i = 0; i < 3000; i++) viewcounter.track("view", "v" + i);')
    page.run("pass(600000);")
    counters = page.counters
    assert (counters["tracked"], counters["dropped"], counters["sent"]) == (3000, 2000, 0)
    network.statuses.clear()
    network.sent.clear()
    for _ in range(20):
        page.run("pass(60000);")
    assert len({video for _, video, _ in network.events}) == 1000
    assert page.counters["sent"] == 1000


def test_a_script_without_a_key_says_so_and_sends_nothing_by_itself() -> None:
    network = Network()
    page = Page(serve()[2].decode(), data={"video": "v1"}, beacon=network.beacon, post=network.post)
    page.run("pass(5000);")
    assert network.sent == []
    assert "data-key" in page.run("return complaint;")
