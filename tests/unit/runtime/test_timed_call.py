import threading

import pytest

from runtime.timed_call import TimedCall
from tests.waiting import limit


class Server:
    """Answers with the number of the call once it is released."""

    def __init__(self):
        self.release = threading.Event()
        self.count = 0
        self.error = None

    def answer(self):
        self.count += 1
        assert self.release.wait(limit(10))
        if self.error is not None:
            raise self.error
        return self.count


@pytest.fixture
def server():
    server = Server()
    yield server
    server.release.set()


@pytest.fixture
def call(server):
    return TimedCall("calls", server.answer)


def test_a_call_that_hangs_is_waited_for_by_the_next_caller_and_not_made_twice(server, call):
    for _ in range(2):
        call.submit()
        with pytest.raises(TimeoutError):
            call.result(timeout_seconds=0.001)
    server.release.set()
    assert call.result(timeout_seconds=limit(10)) == 1
    call.submit()
    assert call.result(timeout_seconds=limit(10)) == 2


def test_a_caller_gets_the_error_of_the_call(server, call):
    server.error = ValueError("no")
    server.release.set()
    call.submit()
    with pytest.raises(ValueError, match="no"):
        call.result(timeout_seconds=limit(10))


def test_a_call_that_was_not_submitted_has_no_answer(server, call):
    with pytest.raises(TimeoutError, match="not been submitted"):
        call.result(timeout_seconds=limit(10))
    assert server.count == 0
