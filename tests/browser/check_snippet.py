"""The script in a real Chromium, against a real gateway: what becomes of every event, and whether its counters say so.

Run by its name, not part of a whole run: no package of ours brings a browser. Skipped, loudly, where there is none.
"""

import json
import uuid

import pytest
import urllib3

from devtools.localcluster.cluster import LocalCluster
from tests.browser.chromium import Tab
from tests.browser.site import Site, await_console
from tests.pace import limit
from tests.waiting import wait_until
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import KeyKind, Scope
from viewcounter.eventlog.codec import unpack_entry
from viewcounter.eventlog.interface import START
from viewcounter.eventlog.redis_streams import RedisEventLog

ANSWER_SECONDS = 30.0
"""How long the script waits for an answer."""
LONGEST_EVENTS = 100
UNKNOWN_KEY = "vcp_000000000000_" + "0" * 43


@pytest.fixture
def key(site: Site) -> str:
    return create_public_key(site.origin)


@pytest.fixture
def video_id() -> str:
    return f"page-{uuid.uuid4().hex}"


def create_public_key(origin: str, **limits: int) -> str:
    return create_key("page", [Scope.EVENTS_WRITE], kind=KeyKind.PUBLIC, allowed_origins=[origin], **limits)[1]


def read_ids(web: LocalCluster, video_id: str) -> list[uuid.UUID]:
    """Of the video's events in the log, each as often as it is there."""
    log = RedisEventLog(web.environment["VIEWCOUNTER_LOG_URL"], timeout_seconds=5.0)
    found = []
    for partition in range(32):
        for entry in log.read(partition, after=START, max_entries=1_000_000):
            columns = unpack_entry(entry.payload)
            raw = columns.event_ids.tobytes()
            ids = [uuid.UUID(bytes=raw[i : i + 16]) for i in range(0, len(raw), 16)]
            own = zip(ids, columns.video_index.tolist(), strict=True)
            found += [i for i, v in own if columns.videos[v] == video_id]
    log.close()
    return found


def read_counters(tab: Tab) -> dict[str, int]:
    """Those that are not zero, but for `tracked`, which is their sum."""
    counters: dict[str, int] = json.loads(tab.run("JSON.stringify(viewcounter.counters)"))
    tracked = counters.pop("tracked")
    assert sum(counters.values()) == tracked
    return {name: number for name, number in counters.items() if number}


def await_counters(tab: Tab, *, within_seconds: float = 60.0, **expected: int) -> None:
    try:
        wait_until(lambda: read_counters(tab) == expected, within_seconds=within_seconds)
    except AssertionError as error:
        raise AssertionError(f"{expected} expected, not {read_counters(tab)}; console: {tab.console[-5:]}") from error


def test_a_page_sends_its_events_at_once_and_the_last_ones_when_it_is_closed(web, site, key, video_id):
    leave = f'addEventListener("pagehide", () => viewcounter.track("share", "{video_id}"), true);'
    tab = site.open(key, video=video_id, more=f"<script>{leave}</script>")
    tab.run(f'viewcounter.track("like", "{video_id}")')
    await_counters(tab, accepted=2)
    assert {i.version for i in read_ids(web, video_id)} == {7}
    tab.close()
    wait_until(lambda: len(read_ids(web, video_id)) == 3, what="what the page sends when it is closed")


def test_a_page_of_another_origin_keeps_its_events_until_its_origin_is_allowed(web, site, video_id):
    key = create_public_key("https://elsewhere.example")
    tab = site.open(key, video=video_id, debug="")
    await_console(tab, "rejects this page's events: 403 origin_not_allowed")
    await_console(tab, "viewcounter: answer 403")
    assert read_counters(tab) == {"pending": 1}
    assert read_ids(web, video_id) == []
    ApiKey.objects.update(allowed_origins=[site.origin])
    wait_until(lambda: tab.run("viewcounter.flush(), viewcounter.counters.accepted"), what="the gateway to know")
    await_counters(tab, accepted=1)
    assert len(read_ids(web, video_id)) == 1
    tab.close()


def test_a_page_with_an_unknown_key_keeps_its_events_and_says_why(web, site, video_id):
    tab = site.open(UNKNOWN_KEY, video=video_id)
    await_console(tab, "rejects this page's events: 401 invalid_key")
    assert read_counters(tab) == {"pending": 1}
    tab.close()


@pytest.mark.parametrize("status", [301, 404])
def test_a_page_with_a_wrong_address_keeps_its_events(web, site, video_id, browser, status):
    script = urllib3.request("GET", f"{web.web_url}/v1/viewcounter.js", timeout=limit(30.0)).data.decode()
    site.pages["/v1/viewcounter.js"] = script
    site.post_status = status
    source = f"{site.other_origin}/v1/viewcounter.js"
    site.pages["/page"] = f'<script src="{source}" data-key="{UNKNOWN_KEY}" data-video="{video_id}"></script>'
    tab = browser.open(f"{site.origin}/page")
    await_console(tab, "the service did not store events (status 0); trying again")
    assert read_counters(tab) == {"pending": 1}
    tab.close()


def test_a_page_that_sends_too_fast_is_told_so_and_loses_nothing(web, site, video_id):
    tab = site.open(create_public_key(site.origin, events_per_second=5), debug="")
    tab.run(f'for (let i = 0; i < 150; i++) viewcounter.track("like", "{video_id}")')
    await_console(tab, "viewcounter: answer 429")
    await_counters(tab, accepted=150)
    assert len(read_ids(web, video_id)) == len(set(read_ids(web, video_id))) == 150
    tab.close()


def test_events_wait_in_the_page_while_the_log_takes_none(web, site, key, video_id):
    tab = site.open(key, debug="")
    log = web.server("log")
    log.kill()
    try:
        tab.run(f'viewcounter.track("like", "{video_id}")')
        await_console(tab, "viewcounter: answer 503")
        assert read_counters(tab) == {"pending": 1}
    finally:
        log.start()
        log.wait_ready()
    await_counters(tab, accepted=1)
    assert len(set(read_ids(web, video_id))) == 1
    tab.close()


def test_events_wait_in_the_page_while_the_gateway_is_gone(web, site, key, video_id):
    tab = site.open(key)
    application = web.application("web")
    application.kill()
    tab.run(f'viewcounter.track("like", "{video_id}")')
    await_console(tab, "the service did not store events (status 0)")
    assert read_counters(tab) == {"pending": 1}
    application.start()
    application.wait_ready()
    await_counters(tab, accepted=1)
    assert len(read_ids(web, video_id)) == 1
    tab.close()


def test_events_are_sent_again_when_a_gateway_does_not_answer(web, site, key, video_id):
    tab = site.open(key, debug="")
    application = web.application("web")
    application.pause()
    try:
        tab.run(f'viewcounter.track("like", "{video_id}")')
        await_counters(tab, in_flight=1)
        await_counters(tab, pending=1, within_seconds=ANSWER_SECONDS + 60)
    finally:
        application.resume()
    await_counters(tab, accepted=1)
    assert len(set(read_ids(web, video_id))) == 1
    tab.close()


def test_a_page_that_is_shown_again_sends_what_the_browser_could_not(web, site, key, video_id, browser):
    tab = site.open(key)
    application = web.application("web")
    application.kill()
    tab.run(f'viewcounter.track("like", "{video_id}")')
    other = browser.open(f"{site.origin}/other")
    other.show()
    await_counters(tab, unconfirmed=1)
    application.start()
    application.wait_ready()
    tab.show()
    await_counters(tab, accepted=1)
    assert len(read_ids(web, video_id)) == 1
    tab.close()
    other.close()


def test_a_page_that_the_visitor_comes_back_to_knows_of_its_events(web, site, key, video_id):
    tab = site.open(key)
    tab.run(f'viewcounter.track("like", "{video_id}")')
    tab.go_to(f"{site.origin}/other")
    wait_until(lambda: read_ids(web, video_id), what="what the page sends when it is left")
    tab.go_back()
    wait_until(lambda: tab.run("typeof viewcounter") == "object", what="the page to be there again")
    await_counters(tab, accepted=1)
    assert len(set(read_ids(web, video_id))) == 1
    tab.close()


def test_the_longest_events_that_the_service_takes_get_through(web, site, key):
    tab = site.open(key, viewer="🎬" * 128)
    longest = "🎥" * 96 + uuid.uuid4().hex
    tab.run(f'for (let i = 0; i < {LONGEST_EVENTS}; i++) viewcounter.track("watch_time", "{longest}", 1.5)')
    await_counters(tab, accepted=LONGEST_EVENTS)
    assert len(read_ids(web, longest)) == LONGEST_EVENTS
    tab.close()


def test_an_event_that_cannot_be_sent_costs_no_other(web, site, key, video_id):
    tab = site.open(key)
    tab.run('viewcounter.track("like", "v", 10n)')
    tab.run('viewcounter.track("like", Object.create(null))')
    tab.run('viewcounter.track("like", "v".repeat(100000))')
    tab.run('viewcounter.track("like", "\\ud800")')
    tab.run(f'viewcounter.track("like", "{video_id}")')
    await_counters(tab, accepted=1, refused=4)
    assert len(read_ids(web, video_id)) == 1
    await_console(tab, "an event cannot be written as JSON and is not sent: like v 10")
    await_console(tab, "the service refuses an event")
    tab.close()


FILL_STORAGE = """
try { for (let size = 1 << 22; size > 0; size >>= 1) for (;;) localStorage.setItem(Math.random(), "x".repeat(size)); }
catch (error) { console.log("storage is full:", error.name); }
"""


def test_a_page_whose_storage_is_full_sends_its_events(web, site, key, video_id):
    tab = site.open(key, video=video_id, more=f"<script>{FILL_STORAGE}</script>")
    await_console(tab, "storage is full: QuotaExceededError")
    await_counters(tab, accepted=1)
    tab.run("localStorage.clear()")
    tab.close()


def test_the_script_leaves_nothing_on_the_device(web, site, key, video_id):
    tab = site.open(key, video=video_id, viewer="ada")
    await_counters(tab, accepted=1)
    assert tab.run("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    assert tab.run("indexedDB.databases()") == []
    tab.close()


def test_a_page_that_may_store_nothing_says_that_its_origin_is_rejected(web, site, key, video_id, browser):
    """A sandboxed frame: access to storage throws, and its origin is `null`, which no key can name."""
    path = site.add(
        key, video=video_id, more="<script>try { localStorage } catch { console.log('no storage') }</script>"
    )
    frame = f"<!doctype html><iframe sandbox=allow-scripts src={path}></iframe>"
    tab = browser.open(f"{site.origin}{site.add(UNKNOWN_KEY, more=frame)}")
    await_console(tab, "no storage")
    await_console(tab, "may not be used by pages of null. (1 events wait")
    assert read_ids(web, video_id) == []
    tab.close()


def test_a_page_that_is_left_with_many_events_hands_over_what_the_browser_takes(web, site, key, video_id):
    tab = site.open(key)
    tab.run(f'for (let i = 0; i < 1000; i++) viewcounter.track("like", "{video_id}"); viewcounter.flush()')
    handed_over = tab.run('dispatchEvent(new Event("pagehide")), viewcounter.counters.unconfirmed')
    assert handed_over > 0
    tab.run('dispatchEvent(new Event("pageshow"))')
    await_counters(tab, accepted=1000, within_seconds=180)
    assert len(set(read_ids(web, video_id))) == 1000
    tab.close()


def test_a_page_that_was_loaded_ahead_counts_no_view_until_it_is_shown(web, site, key, video_id, browser):
    report = 'addEventListener("load", () => fetch(`/${document.prerendering},${viewcounter.counters.tracked}`))'
    path = site.add(key, video=video_id, more=f"<script>{report}</script>")
    rules = json.dumps({"prerender": [{"source": "list", "urls": [path], "eagerness": "immediate"}]})
    go = f'setInterval(async () => {{ if ((await fetch("/go")).status === 200) location.href = "{path}"; }}, 100)'
    start = site.add(UNKNOWN_KEY, more=f'<script type="speculationrules">{rules}</script><script>{go}</script>')
    browser.open_unwatched(f"{site.origin}{start}")
    wait_until(lambda: "/true,0" in site.requested, what=f"the page to be loaded ahead: {site.requested}")
    site.pages["/go"] = "go"
    wait_until(lambda: len(read_ids(web, video_id)) == 1, what="the view of the page that is shown")
    assert site.requested.count(path) == 1
