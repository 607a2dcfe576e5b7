"""Web pages against the running gateway: the script as it is served, in a real JavaScript engine, over real HTTP."""

import json
import time
import uuid

import pytest
import urllib3

from devtools.localcluster.cluster import LocalCluster
from tests.pace import limit
from tests.unit.ingest.page import Page
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.scopes import KeyKind, Scope
from viewcounter.eventlog.codec import get_event, unpack_entry
from viewcounter.eventlog.interface import START
from viewcounter.eventlog.redis_streams import RedisEventLog
from viewcounter.events.viewer import NO_VIEWER

SITE = "https://www.example.com"
HTTP_SECONDS = limit(30.0)


@pytest.fixture
def public_token(web: LocalCluster, django_db_blocker):
    with django_db_blocker.unblock():
        key, token = create_key("site", [Scope.EVENTS_WRITE], kind=KeyKind.PUBLIC, allowed_origins=[SITE])
        yield token
        key.delete()


class Browser:
    """Sends what a page sends as browsers do: text, and the origin of the page."""

    def __init__(self, *, origin: str) -> None:
        self._origin = origin
        self.bodies: list[str] = []
        self.answers: list[urllib3.BaseHTTPResponse] = []

    def post(self, url: str, body: str) -> tuple[int, str]:
        """Status 0 where the answer does not let the page read it."""
        answer = self.send(url, body)
        may_read = answer.headers.get("access-control-allow-origin") in ("*", self._origin)
        return (answer.status, answer.data.decode()) if may_read else (0, "")

    def send(self, url: str, body: str) -> urllib3.BaseHTTPResponse:
        self.bodies.append(body)
        headers = {"Origin": self._origin, "Content-Type": "text/plain;charset=UTF-8"}
        answer = urllib3.request("POST", url, body=body.encode(), headers=headers, timeout=HTTP_SECONDS, retries=False)
        self.answers.append(answer)
        return answer


def open_page(web: LocalCluster, browser: Browser, token: str, video_id: str) -> Page:
    url = f"{web.web_url}/v1/viewcounter.js"
    script = urllib3.request("GET", url, timeout=HTTP_SECONDS)
    assert (script.status, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    return Page(
        script.data.decode(),
        url=url,
        data={"key": token, "video": video_id, "viewer": "ada@example.com"},
        now_ms=time.time_ns() // 1_000_000,
        beacon=lambda url, body: browser.send(url, body).status > 0,
        post=browser.post,
    )


def read_viewers(web: LocalCluster) -> dict[str, int]:
    """Of every event in the log, by its id."""
    log = RedisEventLog(web.environment["VIEWCOUNTER_LOG_URL"], timeout_seconds=5.0)
    viewers = {}
    for partition in range(32):
        for entry in log.read(partition, after=START, max_entries=1_000_000):
            columns = unpack_entry(entry.payload)
            events = [get_event(columns, row) for row in range(len(columns))]
            viewers |= {str(uuid.UUID(bytes=event.event_id)): event.viewer for event in events}
    log.close()
    return viewers


def test_views_and_watch_time_of_a_page_are_in_the_log(web: LocalCluster, public_token: str) -> None:
    browser = Browser(origin=SITE)
    page = open_page(web, browser, public_token, "page-video")
    page.run(
        'viewcounter.watch(media, "page-video"); fire(media.on, "playing"); media.currentTime = 1.25;'
        'document.visibilityState = "hidden"; fire(listeners, "visibilitychange");'
    )
    [answer] = browser.answers
    assert (answer.status, answer.json()["accepted"]) == (202, 3)
    assert answer.headers["access-control-allow-origin"] == SITE
    viewers = read_viewers(web)
    [number] = {viewers[event["event_id"]] for event in json.loads(browser.bodies[0])}
    assert number != NO_VIEWER


def test_a_page_reads_what_became_of_its_view(web: LocalCluster, public_token: str) -> None:
    page = open_page(web, Browser(origin=SITE), public_token, "page-video")
    page.run("pass(1000);")
    assert (page.counters["accepted"], page.complaints) == (1, [])


@pytest.mark.parametrize(
    ("origin", "key", "reason"),
    [
        ("https://evil.example", None, "403 origin_not_allowed: The public key "),
        (SITE, "vcp_nobody_nothing", "401 invalid_key: The API key is not valid."),
    ],
)
def test_a_page_that_is_rejected_keeps_its_view_and_reads_why(
    web: LocalCluster, public_token: str, origin: str, key: str | None, reason: str
) -> None:
    page = open_page(web, Browser(origin=origin), key or public_token, "page-video")
    page.run("pass(1000);")
    assert (page.counters["pending"], page.counters["refused"]) == (1, 0)
    assert f"rejects this page's events: {reason}" in page.complaints[0]
