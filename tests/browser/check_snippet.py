"""The script in a real Chromium, against a real gateway: where VIEWCOUNTER_TEST_CHROMIUM names the browser.

Run by its name, not part of a whole run, because no package of ours brings a browser. Without one this fails.
"""

import os
import subprocess
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from localcluster.waiting import Waiter
from viewcounter.eventlog.codec import unpack_entry
from viewcounter.eventlog.interface import START
from viewcounter.eventlog.redis_streams import RedisEventLog
from viewcounter.gateway.keys import create_key, get_key_cache
from viewcounter.gateway.models import ApiKey
from viewcounter.gateway.scopes import KeyKind, Scope

BROWSER_SECONDS = 120
PAGE = """<!doctype html><title>a page</title>
<script async src="{gateway}/v1/viewcounter.js" data-key="{key}" data-video="{video}"></script>
<script>
addEventListener("load", () => {{ viewcounter.track("like", "{video}"); }});
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


def serve_page(text):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text().encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def read_videos(web):
    """Event types and videos of the log, by their ids' version."""
    log = RedisEventLog(web.environment["VIEWCOUNTER_LOG_URL"], timeout_seconds=5.0)
    found = []
    for partition in range(32):
        for entry in log.read(partition, after=START, max_entries=1_000_000):
            columns = unpack_entry(entry.payload)
            raw = columns.event_ids.tobytes()
            ids = [uuid.UUID(bytes=raw[i : i + 16]) for i in range(0, len(raw), 16)]
            found += [(i.version, columns.videos[v]) for i, v in zip(ids, columns.video_index.tolist(), strict=True)]
    log.close()
    return found


def open_in_browser(url, profile):
    return subprocess.run(
        [
            os.environ["VIEWCOUNTER_TEST_CHROMIUM"], "--headless", "--no-sandbox", "--disable-gpu",
            "--disable-dev-shm-usage", f"--user-data-dir={profile}", "--timeout=5000", "--dump-dom", url,
        ],
        capture_output=True,
        text=True,
        timeout=BROWSER_SECONDS,
        check=True,
    )  # fmt: skip


@pytest.mark.parametrize("is_allowed", [True, False], ids=["allowed origin", "another origin"])
def test_a_page_in_a_browser_sends_its_events_from_its_own_origin_only(web, django_db_blocker, tmp_path, is_allowed):
    video_id = f"page-{uuid.uuid4().hex}"
    page = serve_page(lambda: PAGE.format(gateway=web.web_url, key=token, video=video_id))
    origin = f"http://127.0.0.1:{page.server_address[1]}"
    with django_db_blocker.unblock():
        origins = [origin] if is_allowed else ["https://elsewhere.example"]
        _, token = create_key("page", [Scope.EVENTS_WRITE], kind=KeyKind.PUBLIC, allowed_origins=origins)
        open_in_browser(f"{origin}/", tmp_path)
        expected = [(7, video_id)] * 2 if is_allowed else []
        if is_allowed:
            Waiter().wait_until(
                lambda: None if [v for v in read_videos(web) if v[1] == video_id] == expected else "not there yet",
                within_seconds=30,
                what="the events of the page",
            )
        assert [v for v in read_videos(web) if v[1] == video_id] == expected
        ApiKey.objects.all().delete()
        get_key_cache().clear()
    page.shutdown()
