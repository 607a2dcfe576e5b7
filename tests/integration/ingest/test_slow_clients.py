"""Connections that say little, slowly or too much, against uvicorn with our protocol, on real sockets."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import urllib3
import uvicorn

from runtime.http.bounded_protocol import BoundedHttpProtocol
from runtime.http.settings import HeadLimits
from tests.pace import limit

PLACES = 60
HTTP_SECONDS = limit(20.0)
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


class Protocol(BoundedHttpProtocol):
    limits = HeadLimits(seconds=60.0, max_bytes=4000, max_headers=20)


class ImpatientProtocol(BoundedHttpProtocol):
    limits = HeadLimits(seconds=0.2, max_bytes=4000, max_headers=20)


async def answer(scope, receive, send):
    """Says how long the body was."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def serve(protocol: type[BoundedHttpProtocol]) -> Iterator[int]:
    """The port of a server that has PLACES places."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    config = uvicorn.Config(
        answer, http=protocol, ws="none", lifespan="off", log_config=None, limit_concurrency=PLACES, loop="asyncio"
    )
    config.access_log = False
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(HTTP_SECONDS)
        listener.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serve(Protocol) as port:
        yield port


def connect(port: int, *data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=HTTP_SECONDS)
    for part in data:
        connection.sendall(part)
    return connection


def read_all(connection: socket.socket) -> bytes:
    """Until the server closes; a reset is an end too."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            found += part
    return found


def test_legitimate_clients_are_answered_while_500_connections_owe_their_heads(port: int) -> None:
    """Eight times as many as there are places; each client comes on a connection of its own, and one stays on its."""
    with contextlib.ExitStack() as stack:
        pool = urllib3.HTTPConnectionPool("127.0.0.1", port, maxsize=1, retries=False, timeout=HTTP_SECONDS)
        assert pool.request("POST", "/", body=b"x" * 10).data == b"10"
        for number in range(500):
            stack.enter_context(connect(port, HEAD if number % 2 else b""))
            if number % 25 == 0:
                newcomer = stack.enter_context(connect(port, HEAD + b"Connection: close\r\n\r\n"))
                assert read_all(newcomer).startswith(b"HTTP/1.1 200 ")
                assert pool.request("POST", "/", body=b"x" * 10).data == b"10"
        assert pool.num_connections == 1


def test_a_head_that_is_not_whole_in_time_is_cut_off(port: int) -> None:
    with serve(ImpatientProtocol) as impatient:
        for data in ([], [HEAD], [b"\r\n"], [b"G"]):
            with connect(impatient, *data) as connection:
                assert read_all(connection) == b""
        answered = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        for rest in (b"GET / HT", b"\r\n\r\n"):
            with connect(impatient, answered) as connection:
                found = connection.recv(65536)
                connection.sendall(rest)
                assert (found + read_all(connection)).count(b"HTTP/1.1") == 1


def test_a_connection_that_idles_between_requests_or_sends_a_body_slowly_is_not_cut() -> None:
    with serve(ImpatientProtocol) as impatient:
        pool = urllib3.HTTPConnectionPool("127.0.0.1", impatient, maxsize=1, retries=False, timeout=HTTP_SECONDS)
        assert pool.request("GET", "/").status == 200
        time.sleep(3 * ImpatientProtocol.limits.seconds)
        assert pool.request("GET", "/").status == 200
        assert pool.num_connections == 1
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
        with connect(impatient, head, b"a") as connection:
            time.sleep(3 * ImpatientProtocol.limits.seconds)
            connection.sendall(b"b")
            assert read_all(connection).endswith(b"\r\n\r\n2")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: 1\r\n" % number for number in range(21)) + b"\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"y" * 4000 + b"\r\n\r\n",
        b"GET /" + b"y" * 4000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["number", "length", "address"],
)
def test_a_head_past_its_bounds_is_431(port: int, head: bytes) -> None:
    with connect(port, head) as connection:
        found = read_all(connection)
    assert found.startswith(b"HTTP/1.1 431 ")
    assert b'"code":"head_too_large"' in found


def test_a_flood_of_headers_that_never_ends_is_cut_off(port: int) -> None:
    sent = 0
    with connect(port, b"GET / HTTP/1.1\r\nx: ") as connection, contextlib.suppress(ConnectionError):
        connection.settimeout(HTTP_SECONDS)
        while sent < 100_000_000:
            sent += connection.send(b"y" * 65536)
    assert sent < 100_000_000


def test_heads_within_their_bounds_pass_whole_or_in_pieces(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: 3\r\nConnection: close\r\nx: " + b"y" * 3900 + b"\r\n\r\n"
    for pieces in ([head + b"abc"], [head[:100], head[100:3000], head[3000:], b"abc"]):
        with connect(port) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.05)  # a segment each
            assert read_all(connection).endswith(b"\r\n\r\n3")


def test_large_body_arrives_whole_behind_a_head_of_several_kilobytes(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: 300000\r\nConnection: close\r\nx: " + b"y" * 3000 + b"\r\n\r\n"
    with connect(port, head + b"z" * 300_000) as connection:
        assert read_all(connection).endswith(b"\r\n\r\n300000")


def test_of_a_head_past_its_bounds_the_rest_is_not_parsed(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """All of it is there at once, and ends; each further header would cost the event loop a callback."""
    parsed: list[bytes] = []
    on_header = Protocol.on_header
    monkeypatch.setattr(
        Protocol, "on_header", lambda self, name, value: parsed.append(name) or on_header(self, name, value)
    )
    head = b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % number for number in range(20_000)) + b"\r\n"
    with connect(port) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(head)
        read_all(connection)
    assert 20 < len(parsed) < 1000


def test_pipelined_requests_are_each_counted_by_themselves(port: int) -> None:
    one = b"POST / HTTP/1.1\r\nContent-Length: 3000\r\nx: " + b"y" * 3000 + b"\r\n\r\n" + b"z" * 3000
    last = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    with connect(port, one * 5 + last) as connection:
        assert read_all(connection).count(b"HTTP/1.1 200 ") == 6
