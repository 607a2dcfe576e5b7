"""The script that shows numbers, in a real Chromium on another origin, against a real gateway and real counts.

Run by its name, not part of a whole run: no package of ours brings a browser. Skipped, loudly, where there is none.
"""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import urllib3

from devtools.localcluster.cluster import LocalCluster
from tests.browser.chromium import Tab
from tests.browser.site import Site, await_console
from tests.pace import limit
from tests.waiting import wait_until
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.scopes import KeyKind, Scope


class Counter:
    """Sends events with a secret key; a worker counts them within a moment."""

    def __init__(self, web: LocalCluster) -> None:
        self._url = web.web_url
        self._key = create_key("sender", [Scope.EVENTS_WRITE])[1]

    def count(self, video_id: str, number: int, *, event_type: str = "view") -> None:
        now = datetime.now(UTC).isoformat()
        events = [
            {"event_id": str(uuid.uuid4()), "video_id": video_id, "event_type": event_type, "occurred_at": now}
            for _ in range(number)
        ]
        body = json.dumps(events)
        # The same events again, until a gateway that has just started takes them: they are counted once.
        wait_until(lambda: self._post(body) == 202, within_seconds=30, what="the gateway to take events")

    def _post(self, body: str) -> int:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        url = f"{self._url}/v1/events"
        status: int = urllib3.request("POST", url, body=body, headers=headers, timeout=limit(30.0)).status
        return status


@pytest.fixture(scope="module")
def worker(servers: LocalCluster) -> Iterator[None]:
    application = servers.application("worker")
    application.start()
    try:
        application.wait_ready()
        yield
    finally:
        application.stop()


@pytest.fixture
def counter(worker: None, web: LocalCluster, site: Site) -> Counter:
    return Counter(web)


@pytest.fixture
def key(site: Site) -> str:
    return create_key("page", [Scope.COUNTS_PUBLIC], kind=KeyKind.PUBLIC, allowed_origins=[site.origin])[1]


@pytest.fixture
def video_id() -> str:
    return f"page-{uuid.uuid4().hex}"


def open_page(site: Site, web: LocalCluster, key: str, content: str, *, origin: str | None = None) -> Tab:
    script = f'<script async src="{web.web_url}/v1/counts.js" data-key="{key}"></script>'
    return site.show(content + script, origin=origin)


def read_text(tab: Tab, name: str) -> str:
    text: str = tab.run(f'document.getElementById("{name}").textContent')
    return text


def await_text(tab: Tab, name: str, text: str) -> None:
    wait_until(
        lambda: read_text(tab, name) == text,
        within_seconds=30,
        what=f"{name} to be {text}, not {read_text(tab, name)}; console: {tab.console[-5:]}",
    )


def test_a_page_on_another_origin_shows_numbers_as_its_language_writes_them(counter, site, web, key, video_id):
    counter.count(video_id, 1000)
    counter.count(video_id, 234)
    counter.count(video_id, 3, event_type="like")
    span = f'data-viewcounter="{video_id}"'
    tab = open_page(
        site,
        web,
        key,
        f'<span id="views" {span}>many</span><span id="likes" {span} data-event="like">some</span>'
        f'<span id="other" data-viewcounter="{video_id}-2">none yet</span>'
        f'<span id="odd" {span} data-event="yawn">?</span>',
    )
    await_text(tab, "views", "1.234")
    await_text(tab, "likes", "3")
    await_text(tab, "other", "0")
    assert read_text(tab, "odd") == "?"
    tab.run(f"""document.body.insertAdjacentHTML("beforeend", '<b id="late" {span}></b>')""")
    await_text(tab, "late", "1.234")
    tab.close()


def test_a_live_number_moves_by_itself(counter, site, web, key, video_id):
    tab = open_page(site, web, key, f'<span id="live" data-viewcounter="{video_id}" data-live>?</span>')
    await_text(tab, "live", "0")
    counter.count(video_id, 2)
    await_text(tab, "live", "2")
    counter.count(video_id, 5)
    await_text(tab, "live", "7")
    opened = tab.run("performance.getEntriesByType('resource').filter((entry) => entry.name.includes('/query')).length")
    assert opened == 0, "the stream brings the numbers, no request besides"
    tab.close()


def test_a_live_number_goes_on_when_the_gateway_has_been_restarted(counter, site, web, key, video_id):
    tab = open_page(site, web, key, f'<span id="live" data-viewcounter="{video_id}" data-live>?</span>')
    await_text(tab, "live", "0")
    application = web.application("web")
    application.stop()
    application.start()
    application.wait_ready()
    counter.count(video_id, 4)
    await_text(tab, "live", "4")
    tab.close()


def test_a_page_of_another_origin_keeps_its_text_and_says_why(counter, site, web, key, video_id):
    tab = open_page(
        site, web, key, f'<span id="views" data-viewcounter="{video_id}">many</span>', origin=site.other_origin
    )
    await_console(tab, "numbers cannot be read: 403 origin_not_allowed")
    assert read_text(tab, "views") == "many"
    tab.close()


def test_a_badge_is_shown_to_pages_of_the_key_s_origins_only(counter, site, web, key, video_id):
    image = f'<img id="badge" src="{web.web_url}/v1/videos/{video_id}/badge.svg?key={key}&label=views">'
    tab = open_page(site, web, key, image)
    wait_until(lambda: tab.run('document.getElementById("badge").naturalWidth') == 66, within_seconds=30)
    tab.close()
    tab = open_page(site, web, key, image, origin=site.other_origin)
    wait_until(lambda: tab.run('document.getElementById("badge").complete'), within_seconds=30)
    assert tab.run('document.getElementById("badge").naturalWidth') == 0
    tab.close()
