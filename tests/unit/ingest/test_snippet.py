"""The script for web pages, as it is served and as it behaves in a page."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from tests.unit.ingest.page import NOW_MS, Page
from viewcounter.ingest.snippet import Snippet

KEY = {"key": "vcp_k"}
Answer = int | tuple[int, dict[str, Any]]
"""Status, or status and body."""


class Network:
    """What left the page. `beacon_bytes`: how much the browser takes in beacons. `answers` to posts, then 202; 0: no
    network, -1: none ever."""

    def __init__(
        self, *, beacon_bytes: int = 65536, answers: tuple[int | tuple[int, dict[str, Any]], ...] = ()
    ) -> None:
        self.beacon_bytes = beacon_bytes
        self.answers = list(answers)
        self.sent: list[tuple[str, str, list[dict[str, Any]]]] = []

    def beacon(self, url: str, body: str) -> bool:
        takes = len(body.encode()) <= self.beacon_bytes
        if takes:
            self.beacon_bytes -= len(body.encode())
            self.sent.append(("beacon", url, json.loads(body)))
        return takes

    def post(self, url: str, body: str) -> tuple[int, str]:
        self.sent.append(("post", url, json.loads(body)))
        answer = self.answers.pop(0) if self.answers else 202
        status, problem = answer if isinstance(answer, tuple) else (answer, {})
        return status, json.dumps(problem)

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


def count(page: Page, **expected: int) -> bool:
    """Whether the counters are these, zeros left out, and add up."""
    counters = page.counters
    ended = {name: number for name, number in counters.items() if number and name != "tracked"}
    assert sum(ended.values()) == counters["tracked"]
    return ended == expected


def open_page(network: Network, *, prelude: str = "", **data: str) -> Page:
    script = prelude + serve()[2].decode()
    return Page(script, data={**KEY, **data}, beacon=network.beacon, post=network.post)


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
    assert (way, url) == ("post", "https://counts.example/v1/events?key=vcp_k")
    assert set(event) == {"event_id", "video_id", "event_type", "occurred_at"}
    assert (event["event_type"], event["video_id"]) == ("view", "v1")
    assert event["occurred_at"] == "2026-01-31T12:00:00.123Z"
    assert count(page, accepted=1)


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
    assert "a viewer has" in page.complaints[0]


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
    assert count(page, accepted=200, pending=50)
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
    assert [way for way, _, _ in network.sent] == ["beacon"]
    assert count(page, unconfirmed=3)
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


@pytest.mark.parametrize("answer", [0, 429, 500, 503, 422])
def test_events_without_an_answer_are_sent_again_under_the_same_ids(answer: int) -> None:
    network = Network(answers=(answer, answer))
    page = open_page(network, video="v1")
    page.run("pass(1000);")
    assert count(page, pending=1)
    page.run('viewcounter.track("like", "v1"); pass(2000);')
    page.run("pass(4000);")
    batches = [[event["event_id"] for event in batch] for _, _, batch in network.sent]
    assert [len(batch) for batch in batches] == [1, 2, 2]
    assert batches[0] == batches[1][:1] and batches[1] == batches[2]
    assert count(page, accepted=2)
    assert len(page.complaints) == 1  # of an outage, not of each attempt


REJECTED = {"code": "origin_not_allowed", "detail": "The public key vcp_k may not be used by pages of https://a."}


@pytest.mark.parametrize("status", [301, 401, 403, 404])
def test_a_rejected_page_keeps_its_events_pauses_and_says_why(status: int) -> None:
    network = Network(answers=((status, REJECTED),))
    page = open_page(network, video="v1")
    page.run("pass(1000);")
    assert count(page, pending=1)
    assert f"{status} origin_not_allowed: {REJECTED['detail']} (1 events wait" in page.complaints[0]
    page.run(HIDE)
    page.run('viewcounter.track("like", "v1"); pass(59000);')
    assert len(network.sent) == 1
    page.run("pass(1000);")
    assert [len(batch) for _, _, batch in network.sent] == [1, 2]
    assert count(page, accepted=2)


def test_of_a_mixed_answer_each_event_is_counted_for_what_became_of_it() -> None:
    fault = {"index": 1, "code": "unknown_event_type", "field": "event_type", "message": "No.", "retryable": False}
    network = Network(answers=((207, {"items": [fault, {"index": 2, "retryable": True}]}),))
    page = open_page(network)
    page.run('for (const type of ["view", "clap", "like"]) viewcounter.track(type, "v1"); pass(1000);')
    assert count(page, accepted=1, refused=1, pending=1)
    assert page.complaints[0] == "viewcounter: the service refuses an event: No. (unknown_event_type, event_type)"
    page.run("pass(2000);")
    assert [event["event_type"] for event in network.sent[1][2]] == ["like"]
    assert count(page, accepted=2, refused=1)


@pytest.mark.parametrize("status", [400, 413])
def test_a_bad_batch_is_not_sent_again(status: int) -> None:
    network = Network(answers=(status,))
    page = open_page(network, video="v1")
    page.run("pass(60000);")
    assert len(network.sent) == 1
    assert count(page, refused=1)


def test_a_page_that_is_left_posts_what_the_browser_takes_as_no_beacon() -> None:
    network = Network(beacon_bytes=0)
    page = open_page(network, video="v1")
    page.run(HIDE)
    assert [way for way, _, _ in network.sent] == ["post"]
    assert count(page, accepted=1)


SHOW = 'document.visibilityState = "visible"; fire(listeners, "visibilitychange");'


@pytest.mark.parametrize("show", [SHOW, 'fire(listeners, "pageshow");'])
def test_a_page_that_is_shown_again_sends_what_it_handed_over_under_the_same_ids(show: str) -> None:
    network = Network()
    page = open_page(network, video="v1")
    page.run(HIDE)
    page.run(f'viewcounter.track("like", "v1"); {show}')
    assert count(page, pending=2)
    page.run("pass(1000);")
    assert [way for way, _, _ in network.sent] == ["beacon", "post"]
    assert network.sent[1][2][0] == network.sent[0][2][0]
    assert count(page, accepted=2)
    page.run(show)
    page.run("pass(1000);")
    assert len(network.sent) == 2


def test_a_page_keeps_the_newest_thousand_of_what_it_handed_over() -> None:
    network = Network(beacon_bytes=10_000_000)
    page = open_page(network)
    for _ in range(20):
        page.run(f'for (let i = 0; i < 60; i++) viewcounter.track("view", "v"); {HIDE}')
    assert count(page, unconfirmed=1200)
    page.run(SHOW)
    assert count(page, unconfirmed=200, pending=1000)


def test_a_page_that_is_left_hands_over_all_that_the_browser_takes() -> None:
    network = Network(beacon_bytes=30_000, answers=(0,))
    page = open_page(network)
    page.run('for (let i = 0; i < 99; i++) viewcounter.track("view", "a long name of a video, ".repeat(10) + i);')
    page.run(HIDE)
    sizes = [len(batch) for way, _, batch in network.sent if way == "beacon"]
    assert len(sizes) > 1
    assert network.beacon_bytes < 500  # not one event more
    assert count(page, unconfirmed=sum(sizes), pending=99 - sum(sizes))


def test_a_batch_is_no_larger_than_browsers_send_for_a_page_that_is_left() -> None:
    network = Network()
    page = open_page(network, viewer="🎬" * 128)
    page.run('for (let i = 0; i < 100; i++) viewcounter.track("view", "🎥".repeat(128)); pass(1000);')
    page.run("pass(1000);")
    sizes = [len(json.dumps(batch, ensure_ascii=False, separators=(",", ":")).encode()) for _, _, batch in network.sent]
    assert len(sizes) == 2
    assert max(sizes) <= 60_000
    assert count(page, accepted=100)


def test_an_event_that_is_no_json_is_refused_and_holds_up_no_other() -> None:
    network = Network()
    page = open_page(network)
    page.run('viewcounter.track("like", "v1", 10n); viewcounter.track("like", Object.create(null));')
    assert count(page, refused=2)
    assert page.complaints[0].startswith("viewcounter: an event cannot be written as JSON")
    page.run('viewcounter.track("like", "v1"); pass(1000);')
    assert count(page, accepted=1, refused=2)


def test_a_batch_without_an_answer_is_sent_again_under_the_same_ids() -> None:
    network = Network(answers=(-1,))
    page = open_page(network, video="v1")
    page.run("pass(30999);")
    assert count(page, in_flight=1)
    page.run("pass(1);")
    assert count(page, pending=1)
    page.run("pass(2000);")
    assert network.sent[0] == network.sent[1]
    assert count(page, accepted=1)


def test_an_event_tracked_while_others_are_under_way_does_not_shorten_the_pause() -> None:
    network = Network(answers=((403, REJECTED),))
    page = open_page(network, video="v1")
    page.run('pass(1000); viewcounter.track("like", "v1");')
    page.run("pass(59000);")
    assert len(network.sent) == 1
    page.run("pass(1000);")
    assert count(page, accepted=2)


def test_a_page_loaded_ahead_counts_its_view_when_it_is_shown() -> None:
    network = Network()
    page = open_page(network, prelude="document.prerendering = true;", video="v1")
    page.run("pass(5000);")
    assert count(page)
    page.run('fire(listeners, "prerenderingchange"); pass(1000);')
    assert count(page, accepted=1)


def test_the_debug_mode_prints_events_and_answers() -> None:
    network = Network()
    page = open_page(network, video="v1", debug="")
    page.run("pass(1000);")
    logged = page.run("return logged;")
    assert [entry[1] for entry in logged] == ["tracked", "answer"]
    assert json.loads(logged[1][4])["accepted"] == 1


def test_a_page_without_a_network_keeps_a_bounded_number_of_events() -> None:
    network = Network(answers=(0,) * 1000)
    page = open_page(network)
    page.run('for (let i = 0; i < 3000; i++) viewcounter.track("view", "v" + i);')
    page.run("pass(600000);")
    assert count(page, dropped=2000, pending=1000)
    network.answers.clear()
    network.sent.clear()
    for _ in range(20):
        page.run("pass(60000);")
    assert len({video for _, video, _ in network.events}) == 1000
    assert count(page, dropped=2000, accepted=1000)


def test_a_script_without_a_key_says_so_and_sends_nothing_by_itself() -> None:
    network = Network()
    page = Page(serve()[2].decode(), data={"video": "v1"}, beacon=network.beacon, post=network.post)
    page.run("pass(5000);")
    assert network.sent == []
    assert "data-key" in page.complaints[0]
