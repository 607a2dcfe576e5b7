"""Several passwords at one server share one time limit."""

import psycopg
import pytest

from shardproxy.connection import connect_with_any
from tests.clock import Clock

SECONDS = 3.0


class Server:
    """Accepts one password; each answer takes a second."""

    def __init__(self, password: str) -> None:
        self.clock = Clock()
        self.tried: list[tuple[str, float | None]] = []
        self._password = password

    def connect(self, password: str, left: float | None) -> str:
        self.tried.append((password, left))
        self.clock.advance(1)
        if password != self._password:
            raise psycopg.OperationalError("refused")
        return password


def test_a_later_password_gets_the_time_that_the_earlier_ones_have_left():
    server = Server("third")
    passwords = "first\nsecond\nthird"
    assert connect_with_any(passwords, server.connect, seconds=SECONDS, clock=server.clock) == "third"
    assert [(password, round(left)) for password, left in server.tried] == [("first", 3), ("second", 2), ("third", 1)]


def test_no_password_is_tried_when_the_time_is_over():
    server = Server("third")
    with pytest.raises(psycopg.errors.ConnectionTimeout, match=r"refused; with another .*: no time was left"):
        connect_with_any("first\nsecond\nthird", server.connect, seconds=2.0, clock=server.clock)
    assert [password for password, _ in server.tried] == ["first", "second"]


def test_a_timeout_is_not_waited_for_again():
    tried = []

    def connect(password: str, _left: float | None) -> None:
        tried.append(password)
        raise psycopg.errors.ConnectionTimeout

    with pytest.raises(psycopg.errors.ConnectionTimeout):
        connect_with_any("first\nsecond", connect)
    assert tried == ["first"]
