"""Which web process serves the admin, and what log-ins may take of it: gunicorn with the settings of production."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import urllib3

from configservice.registry.services import ServiceKind
from devtools.localcluster.applications import Web
from devtools.localcluster.cluster import LocalCluster
from devtools.localcluster.web_beside import run_web_beside
from tests.pace import limit
from tests.waiting import wait_until
from viewcounter.health.registration import find_services

HTTP_SECONDS = limit(60.0)
LOG_INS = 40
MEBIBYTE = 1024 * 1024
HASH_BYTES = 46 * MEBIBYTE
UNKNOWN = {"Authorization": "Bearer vc_" + "0" * 12 + "_" + "x" * 43}
BY_HTTPS = {"X-Forwarded-Proto": "https"}


@contextmanager
def run_web(servers: LocalCluster, name: str, **settings: str) -> Iterator[Web]:
    """One more web process, with these settings besides."""
    with run_web_beside(servers, name, ready_seconds=HTTP_SECONDS, **settings) as web:
        yield web


def ask(web: Web, method: str, path: str, headers: dict[str, str] | None = None) -> int:
    return urllib3.request(
        method, f"{web.url}{path}", headers=headers, redirect=False, retries=False, timeout=HTTP_SECONDS
    ).status


def test_gateway_of_production_has_no_admin_and_no_plain_http_for_events(servers: LocalCluster) -> None:
    """The defaults, behind a proxy that ends TLS."""
    with run_web(servers, "plain-gateway", admin="none", site_https_only="true", site_behind_tls_proxy="true") as web:
        for method, path in (("GET", "/admin/"), ("POST", "/admin/login/"), ("GET", "/admin/login/")):
            assert ask(web, method, path, BY_HTTPS) == 404
        assert ask(web, "POST", "/v1/events", UNKNOWN) == 403
        assert ask(web, "POST", "/v1/events", UNKNOWN | BY_HTTPS) == 401
        assert ask(web, "GET", "/v1/videos/v/counts", UNKNOWN) == 301
        assert ask(web, "GET", "/v1/videos/v/counts", UNKNOWN | BY_HTTPS) == 401
        assert ask(web, "GET", "/healthz") == 200


def test_admin_process_serves_the_admin_alone_and_believes_no_forwarded_header(servers: LocalCluster) -> None:
    with run_web(servers, "admin-only", admin="only", site_https_only="true") as web:
        assert ask(web, "GET", "/admin/login/", BY_HTTPS) == 301
        assert ask(web, "GET", "/healthz") == 200
        assert ServiceKind.ADMIN in read_kinds()
    with run_web(servers, "admin-only", admin="only") as web:
        assert ask(web, "GET", "/admin/login/") == 200
        assert ask(web, "GET", "/static/admin/css/base.css") == 200
        for method, path in (("POST", "/v1/events"), ("GET", "/v1/top"), ("GET", "/metrics"), ("GET", "/readyz")):
            assert ask(web, method, path, UNKNOWN) == 404, path
    wait_until(lambda: ServiceKind.ADMIN not in read_kinds())


def read_kinds() -> list[ServiceKind]:
    return [registered.service.kind for registered in find_services() or ()]


def test_forty_log_ins_at_once_take_the_memory_of_two(web: LocalCluster) -> None:
    page = urllib3.request("GET", f"{web.web_url}/admin/login/")
    cookie = page.headers["Set-Cookie"].split(";")[0]
    token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page.data)[1].decode()
    pool = urllib3.PoolManager(maxsize=LOG_INS, retries=False, timeout=HTTP_SECONDS)
    (process,) = psutil.Process(web.application("web").pid).children()
    peak, is_over = [0], threading.Event()

    def log_in(number: int) -> int:
        fields = {"username": f"user{number}", "password": "wrong", "csrfmiddlewaretoken": token}
        url = f"{web.web_url}/admin/login/"
        headers = {"Cookie": cookie}
        return pool.request("POST", url, fields=fields, encode_multipart=False, headers=headers).status

    def watch() -> None:
        while not is_over.wait(0.005):
            peak.append(process.memory_info().rss)

    assert log_in(0) == 200  # what a first log-in loads stays loaded
    before = process.memory_info().rss
    watching = threading.Thread(target=watch)
    watching.start()
    with ThreadPoolExecutor(LOG_INS) as executor:
        outcomes = Counter(executor.map(log_in, range(LOG_INS)))
    is_over.set()
    watching.join()
    assert set(outcomes) <= {200, 429, 503}
    assert outcomes[503] > 0
    assert max(peak) - before < 3 * HASH_BYTES, outcomes
