"""The script in a real Chromium, against a real gateway: where VIEWCOUNTER_TEST_CHROMIUM names the browser.

Run by its name, not part of a whole run, because no package of ours brings a browser. Without one this fails.
"""

import os
import shlex
import signal
import subprocess
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3

from tests.waiting import wait_until
from viewcounter.apikeys.keys import create_key, get_key_cache
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import KeyKind, Scope
from viewcounter.eventlog.codec import unpack_entry
from viewcounter.eventlog.interface import START
from viewcounter.eventlog.redis_streams import RedisEventLog

BROWSER_SECONDS = 60
ADMIN: list[str] = []
PAGE = """<!doctype html><title>a page</title>
<script async src="{gateway}/v1/viewcounter.js" data-key="{key}" data-video="{video}"></script>
<script>
addEventListener("load", () => {{ viewcounter.track("like", "{video}"); }});
addEventListener("pagehide", () => {{ viewcounter.track("share", "{video}"); }}, true);
</script>"""


@pytest.fixture
def web(servers):
    application = servers.application("web")
    application.start()
    try:
        application.wait_ready()
        yield servers
    finally:
        application.stop()


def serve_page(text, answers):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            answers.append(self.path)
            self.wfile.write(text().encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def count_refused(web):
    """Requests that the gateway refused for their origin."""
    with urllib3.PoolManager() as pool:
        text = pool.request("GET", f"{web.web_url}/metrics", headers={"Authorization": f"Bearer {ADMIN[0]}"}).data
    return b'viewcounter_ingest_requests_total{code="origin_not_allowed"}' in text


def read_videos(web, video_id):
    """Versions of the ids of the video's events in the log."""
    log = RedisEventLog(web.environment["VIEWCOUNTER_LOG_URL"], timeout_seconds=5.0)
    found = []
    for partition in range(32):
        for entry in log.read(partition, after=START, max_entries=1_000_000):
            columns = unpack_entry(entry.payload)
            raw = columns.event_ids.tobytes()
            ids = [uuid.UUID(bytes=raw[i : i + 16]) for i in range(0, len(raw), 16)]
            own = zip(ids, columns.video_index.tolist(), strict=True)
            found += [i.version for i, v in own if columns.videos[v] == video_id]
    log.close()
    return found


class Browser:
    """Opened and closed as a context; pages are opened and closed through its DevTools address."""

    def __init__(self, profile):
        self._profile = profile

    def __enter__(self):
        command = shlex.split(os.environ["VIEWCOUNTER_TEST_CHROMIUM"])
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0"]
        self._process = subprocess.Popen(
            [*command, *flags, f"--user-data-dir={self._profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        port_file = self._profile / "DevToolsActivePort"
        wait_until(lambda: port_file.exists() and port_file.read_text().count("\n") > 0, what="the browser")
        self._url = f"http://127.0.0.1:{port_file.read_text().split()[0]}"
        return self

    def __exit__(self, *_):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def open(self, url):
        """The id of the new page."""
        return urllib3.request("PUT", f"{self._url}/json/new?{url}", timeout=BROWSER_SECONDS).json()["id"]

    def close(self, page_id):
        urllib3.request("GET", f"{self._url}/json/close/{page_id}", timeout=BROWSER_SECONDS)


@pytest.mark.parametrize("is_allowed", [True, False], ids=["allowed origin", "another origin"])
def test_a_page_in_a_browser_sends_its_events_from_its_own_origin_only(web, django_db_blocker, tmp_path, is_allowed):
    video_id = f"page-{uuid.uuid4().hex}"
    answers: list[str] = []
    page = serve_page(lambda: PAGE.format(gateway=web.web_url, key=token, video=video_id), answers)
    origin = f"http://127.0.0.1:{page.server_address[1]}"
    with django_db_blocker.unblock():
        ADMIN[:] = [create_key("admin", [Scope.ADMIN])[1]]
        origins = [origin] if is_allowed else ["https://elsewhere.example"]
        _, token = create_key("page", [Scope.EVENTS_WRITE], kind=KeyKind.PUBLIC, allowed_origins=origins)
        with Browser(tmp_path) as browser:
            page_id = browser.open(f"{origin}/")
            wait_until(lambda: answers, what="the page to be loaded")
            wait_until(
                lambda: count_refused(web) or read_videos(web, video_id), what="what the page sends after a second"
            )
            browser.close(page_id)
            if is_allowed:
                # The view and the like, then what the page sent when it was closed.
                wait_until(lambda: len(read_videos(web, video_id)) == 3, what="what the page sends when it is left")
        assert read_videos(web, video_id) == ([7] * 3 if is_allowed else [])
        ApiKey.objects.all().delete()
        get_key_cache().clear()
    page.shutdown()
