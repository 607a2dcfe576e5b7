"""The load generator against a server of a few lines, over real sockets."""

import itertools
import socketserver
import threading
from contextlib import contextmanager, suppress

import pytest

from devtools.bench.errors import WrongAnswer
from devtools.bench.http_load import run_closed, run_open

ASKED = [f"GET /{number} HTTP/1.1\r\n\r\n".encode() for number in range(50)]
CLOSING = b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
KEEPING = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok"


@contextmanager
def answering(answer, *, keeps_alive, patience_seconds=None):
    """Yields its address and what it was asked, by connection. One that says nothing for so long is hung up on."""
    asked: list[list[str]] = []

    class Handler(socketserver.StreamRequestHandler):
        timeout = patience_seconds

        def handle(self):
            with suppress(TimeoutError):
                self.listen()

        def listen(self):
            of_this_connection = []
            asked.append(of_this_connection)
            while line := self.rfile.readline():
                self.rfile.readline()
                of_this_connection.append(line.split()[1].decode())
                self.wfile.write(answer)
                if not keeps_alive:
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server.server_address, asked
        finally:
            server.shutdown()


@pytest.mark.parametrize(("answer", "keeps_alive", "connections"), [(CLOSING, False, 50), (KEEPING, True, 3)])
def test_every_request_is_asked_once_whether_the_server_keeps_connections_or_not(answer, keeps_alive, connections):
    with answering(answer, keeps_alive=keeps_alive) as (address, asked):
        load = run_closed(address, iter(ASKED), connections=3, warm_seconds=0.0, seconds=60.0, status=201)
    assert sorted(itertools.chain(*asked)) == sorted(f"/{number}" for number in range(50))
    assert len([each for each in asked if each]) == connections
    assert load.answered_count == load.finished_count == len(load.latencies) == 50
    assert load.seconds < 60.0


def test_another_status_ends_the_load_and_is_told():
    with answering(KEEPING, keeps_alive=True) as (address, _), pytest.raises(WrongAnswer, match="201 Created"):
        run_closed(address, itertools.cycle(ASKED), connections=3, warm_seconds=0.0, seconds=60.0, status=202)


def test_a_connection_that_was_idle_too_long_is_opened_again():
    with answering(KEEPING, keeps_alive=True, patience_seconds=0.01) as (address, asked):
        load = run_open(address, itertools.cycle(ASKED), connections=8, per_second=20.0, seconds=0.2, status=201)
    assert load.answered_count == len(load.latencies) == 4
    assert len(list(itertools.chain(*asked))) == 4
