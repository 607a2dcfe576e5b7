"""Web pages on two origins, made by tests."""

import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from devtools.localcluster.cluster import LocalCluster
from tests.browser.chromium import Chromium, Tab
from tests.waiting import wait_until


class Site:
    """Web pages on two origins, `127.0.0.1` and `localhost`; what a page holds is said when it is opened."""

    def __init__(self, browser: Chromium, web: LocalCluster) -> None:
        site = self
        self._browser = browser
        self._web = web
        self.pages = {"/other": "<title>another page</title>"}
        self.requested: list[str] = []
        self.post_status = 404
        """What the site answers to posts, without a word on who may read that."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path in site.pages else 404)
                kind = "javascript" if self.path.endswith(".js") else "html"
                self.send_header("Content-Type", f"text/{kind}; charset=utf-8")
                self.end_headers()
                site.requested.append(self.path)
                self.wfile.write(site.pages.get(self.path, "").encode())

            def do_POST(self) -> None:
                self.send_response(site.post_status)
                self.send_header("Location", "https://elsewhere.example/v1/events")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.other_origin = self.origin.replace("127.0.0.1", "localhost")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, key: str, *, more: str = "", **data: str) -> str:
        """The path of a new page with the script."""
        path = f"/{uuid.uuid4().hex}"
        attributes = " ".join(f'data-{name}="{value}"' for name, value in {"key": key, **data}.items())
        script = f'<script async src="{self._web.web_url}/v1/viewcounter.js" {attributes}></script>'
        self.pages[path] = f'<!doctype html><meta charset="utf-8"><title>a page</title>{script}{more}'
        return path

    def show(self, content: str, *, origin: str | None = None) -> Tab:
        """A new page with this content, opened."""
        path = f"/{uuid.uuid4().hex}"
        self.pages[path] = f'<!doctype html><html lang="de"><meta charset="utf-8">{content}'
        return self._browser.open(f"{origin or self.origin}{path}")

    def open(self, key: str, *, origin: str | None = None, more: str = "", **data: str) -> Tab:
        return self._browser.open(f"{origin or self.origin}{self.add(key, more=more, **data)}")


def await_console(tab: Tab, text: str) -> None:
    wait_until(lambda: any(text in line for line in tab.console), what=f"{text!r} on the console: {tab.console}")
