"""Requests that bring no valid key to addresses of Django, against a real web process: what they may hold and open."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psutil
import urllib3

from devtools.localcluster.cluster import LocalCluster
from tests.pace import limit

MEBIBYTE = 1024 * 1024
STRANGERS = 40
HTTP_SECONDS = limit(30.0)
OWN_CONNECTIONS = 7
"""To the control database, of a web process: topology, readiness, reports, copy of the API keys, two for look-ups."""


def connect(web: LocalCluster) -> socket.socket:
    url = urlsplit(web.web_url)
    return socket.create_connection((url.hostname, url.port), timeout=HTTP_SECONDS)


def start_body(web: LocalCluster, path: str, *, key: str = "") -> socket.socket:
    """A body of 1 MiB, but for its last byte."""
    connection = connect(web)
    lines = ["Host: 127.0.0.1", "Content-Type: application/json", f"Content-Length: {MEBIBYTE}"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    connection.sendall("\r\n".join((f"POST {path} HTTP/1.1", *lines, "", "")).encode())
    connection.sendall(b" " * (MEBIBYTE - 1))
    return connection


def read_status(connection: socket.socket) -> int:
    return int(connection.recv(65536).split(b" ")[1])


def test_body_without_a_key_is_answered_before_it_has_come(web: LocalCluster) -> None:
    paths = {"/v1/catalogue/import": 401, "/v1/counts/query": 401, "/v1/recounts": 401, "/v1/nowhere": 404}
    for path, status in paths.items():
        for key in ("", "vc_0", "vc_" + "0" * 12 + "_" + "x" * 43):
            with start_body(web, path, key=key) as connection:
                assert read_status(connection) == status, (path, key)


def test_connection_whose_body_was_left_unread_serves_the_next_request(web: LocalCluster) -> None:
    with start_body(web, "/v1/recounts") as connection:
        assert read_status(connection) == 401
        connection.sendall(b" GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert read_status(connection) == 200


def test_unknown_keys_on_addresses_of_django_take_no_connection_each(web: LocalCluster) -> None:
    control = web.server("control")
    port = int(web.environment["VIEWCOUNTER_CONTROL_DATABASE_PORT"])
    pool = urllib3.PoolManager(maxsize=STRANGERS, retries=False, timeout=HTTP_SECONDS)

    def ask(number: int) -> int:
        path = ("/v1/top", "/v1/catalogue/import", "/metrics", "/v1/videos/x")[number % 4]
        headers = {"Authorization": f"Bearer vc_a{number:011x}_{'x' * 43}"}
        return pool.request("GET", f"{web.web_url}{path}", headers=headers).status

    control.pause()
    try:
        with ThreadPoolExecutor(STRANGERS) as executor:
            asked = [executor.submit(ask, number) for number in range(STRANGERS)]
            most = 0
            while not all(one.done() for one in asked):
                most = max(most, count_connections(web, port))
                time.sleep(0.05)
            statuses = [one.result() for one in asked]
    finally:
        control.resume()
    assert set(statuses) == {503}
    assert most <= OWN_CONNECTIONS


def count_connections(web: LocalCluster, port: int) -> int:
    processes = psutil.Process(web.application("web").pid).children()
    remotes = [c.raddr for process in processes for c in process.net_connections("tcp") if c.raddr]
    return sum(1 for remote in remotes if remote.port == port)
