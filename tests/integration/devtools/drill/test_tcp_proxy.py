"""A TCP proxy between two ends: which data pass, and when."""

import socket
import threading
import time

import pytest

from devtools.drill.tcp_proxy import TcpProxies
from tests.pace import limit

QUIET_SECONDS = 0.2


@pytest.fixture
def echo():
    """The port of an echo server."""

    def serve(connection):
        with connection:
            while data := connection.recv(1024):
                connection.sendall(data)

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo):
    with TcpProxies() as proxies:
        proxy = proxies.open("echo", echo)
        assert proxies.open("echo", echo) is proxy
        yield proxy


def connect(proxy):
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=limit(10))


def say(connection, text):
    connection.sendall(text)
    return connection.recv(1024)


def test_what_is_said_passes_both_ways(proxy):
    with connect(proxy) as one, connect(proxy) as other:
        assert (say(one, b"a"), say(other, b"b")) == (b"a", b"b")


def test_a_held_link_is_silent_and_nothing_is_lost_when_it_is_mended(proxy):
    with connect(proxy) as before:
        assert say(before, b"a") == b"a"
        proxy.hold()
        with connect(proxy) as after:  # taken, and not heard of again
            for connection, text in ((before, b"b"), (after, b"c")):
                connection.sendall(text)
                connection.settimeout(QUIET_SECONDS)
                with pytest.raises(TimeoutError):
                    connection.recv(1024)
            proxy.restore()
            for connection, text in ((before, b"b"), (after, b"c")):
                connection.settimeout(10)
                assert connection.recv(1024) == text


def test_a_slow_link_adds_its_delay_each_way(proxy):
    with connect(proxy) as connection:
        say(connection, b"a")
        proxy.slow_down(seconds=0.1)
        began_at = time.monotonic()
        assert say(connection, b"b") == b"b"
        assert time.monotonic() - began_at >= 0.2


def test_what_is_lost_arrives_later_and_whole(proxy):
    with connect(proxy) as connection:
        say(connection, b"a")
        proxy.lose(share=1.0)
        began_at = time.monotonic()
        assert say(connection, b"b") == b"b"
        assert time.monotonic() - began_at >= 0.6


def test_the_end_of_one_side_is_heard_by_the_other(proxy):
    with connect(proxy) as connection:
        say(connection, b"a")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1024) == b""


def test_nobody_behind_a_link_closes_the_connection():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with TcpProxies() as proxies, connect(proxies.open("nobody", port)) as connection:
        assert connection.recv(1024) == b""
