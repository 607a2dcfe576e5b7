"""The port of a process that serves nothing else: metrics, health, and a bound."""

import socket

import pytest
import urllib3

from runtime.http.metrics_server import MAX_REQUESTS_AT_ONCE, be_healthy, start_process_server


@pytest.fixture
def serve():
    servers = []

    def start(check_health=be_healthy):
        servers.append(start_process_server("127.0.0.1:0", check_health=check_health))
        return servers[-1].server_address[1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def get(port, path):
    return urllib3.request("GET", f"http://127.0.0.1:{port}{path}", retries=False, timeout=10.0)


def test_metrics_are_served_in_prometheus_format(serve):
    answer = get(serve(), "/metrics")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"# TYPE viewcounter_kills_total counter" in answer.data


@pytest.mark.parametrize(("is_well", "status"), [(True, 200), (False, 503)])
def test_health_is_what_the_process_says(serve, is_well, status):
    answer = get(serve(lambda: (is_well, {"status": "x"})), "/healthz?full=1")
    assert (answer.status, answer.json()) == (status, {"status": "x"})


def test_any_other_path_is_not_there(serve):
    assert get(serve(), "/").status == 404


def test_clients_that_say_nothing_cannot_use_the_process_up(serve):
    port = serve()
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(MAX_REQUESTS_AT_ONCE)]
    surplus = socket.create_connection(("127.0.0.1", port), timeout=10)
    assert surplus.recv(1) == b""
    for one in [*silent, surplus]:
        one.close()
