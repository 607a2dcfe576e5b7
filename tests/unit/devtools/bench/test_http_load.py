"""The load generator against a server of our own that counts."""

import itertools
import socket
import threading
from contextlib import contextmanager, suppress

import pytest

from devtools.bench.errors import WrongAnswer
from devtools.bench.http_load import run_closed, run_open

REQUEST = b"GET / HTTP/1.1\r\n\r\n"


class Server:
    """Answers what it is given, one byte of body, in two pieces; stalls once, at the first request."""

    def __init__(self, status, stall_seconds):
        self.answered = 0
        self._stall_seconds = stall_seconds
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._status = status
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()

    def run(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def close(self):
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, connection):
        with connection, suppress(OSError):
            while connection.recv(4096):
                with self._lock:
                    stall_seconds, self._stall_seconds = self._stall_seconds, 0
                    self.answered += 1
                self._closing.wait(stall_seconds)
                connection.sendall(f"HTTP/1.1 {self._status} X\r\ncontent-le".encode())
                connection.sendall(b"ngth: 1\r\n\r\n!")


@contextmanager
def serving(status, stall_seconds=0):
    server = Server(status, stall_seconds)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(10)


def test_every_answer_that_the_server_has_sent_is_counted():
    with serving(202) as server:
        load = run_closed(
            server.address, itertools.repeat(REQUEST), connections=4, warm_seconds=0, seconds=0.1, status=202,
            keeps_answers=True,
        )  # fmt: skip
        assert load.answered_count == server.answered == len(load.answers)
        assert {answer.body for answer in load.answers} == {b"!"}
        assert load.finished_count <= load.answered_count
        assert load.per_second == load.finished_count / 0.1


def test_an_open_loop_asks_so_often_and_counts_the_wait_for_a_stalled_server():
    with serving(200, stall_seconds=0.3) as server:
        load = run_open(server.address, itertools.repeat(REQUEST), connections=1, per_second=100, seconds=0.2)
        assert load.answered_count == server.answered == 20
        assert min(load.latencies) >= 0.1  # the last was due 0.11 s before the server went on
        assert load.get_percentile_ms(100) >= 300


@pytest.mark.parametrize("run", [run_closed, run_open])
def test_another_status_ends_the_run_with_what_was_answered(run):
    how = {"warm_seconds": 0} if run is run_closed else {"per_second": 50}
    with serving(503) as server, pytest.raises(WrongAnswer, match=r"^HTTP/1.1 503"):
        run(server.address, itertools.repeat(REQUEST), connections=2, seconds=0.05, **how)
