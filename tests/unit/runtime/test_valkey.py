import asyncio
import logging
import socket
import threading
from contextlib import closing

import pytest

from runtime.metrics import REGISTRY
from runtime.valkey import CacheBreaker, ValkeyError, build_async_client, build_client, build_pooled_client
from tests.clock import Clock

logger = logging.getLogger("at-work")
BOUNDS = {"timeout_seconds": 0.05, "max_connections": 1}


@pytest.fixture
def make_server():
    """Takes connections and counts them; `answers=False` keeps each open and says nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken = []

    def make(*, answers):
        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                taken.append(connection)
                if answers:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        return f"redis://127.0.0.1:{listener.getsockname()[1]}/0", taken

    yield make
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for connection in taken:
        connection.close()


def get_key(build, url):
    if build is build_async_client:

        async def call():
            client = build(url, **BOUNDS)
            try:
                return await client.get("key")
            finally:
                await client.aclose()

        return asyncio.run(call())
    with closing(build(url, **BOUNDS)) as client:
        return client.get("key")


@pytest.mark.parametrize("build", [build_client, build_pooled_client, build_async_client])
@pytest.mark.parametrize("answers", [True, False], ids=["hangs-up", "frozen"])
def test_a_call_is_one_attempt_that_fails_with_one_kind_of_error(make_server, build, answers):
    url, taken = make_server(answers=answers)
    with pytest.raises(ValkeyError):
        get_key(build, url)
    assert len(taken) == 1


@pytest.mark.parametrize("build", [build_client, build_pooled_client, build_async_client])
def test_a_server_that_is_not_there_is_the_same_kind_of_error(build):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
    with pytest.raises(ValkeyError):
        get_key(build, url)


def count_errors():
    return REGISTRY.get_sample_value("viewcounter_shared_cache_errors_total")


def test_calls_are_left_out_while_the_server_is_away_and_one_tries_it_again(caplog):
    caplog.set_level(logging.INFO)
    clock = Clock()
    breaker = CacheBreaker(logger, open_seconds=60.0, failed="away", recovered="back", clock=clock)
    errors = count_errors()
    assert breaker.try_pass()
    breaker.report_failure(ValueError("no answer"))
    assert not breaker.try_pass()
    clock.advance(60.0)
    assert [breaker.try_pass() for _ in range(3)] == [True, False, False]
    breaker.report_failure(ValueError("no answer"))
    clock.advance(60.0)
    assert breaker.try_pass()
    breaker.report_success()
    assert all(breaker.try_pass() for _ in range(3))
    breaker.report_success()
    assert count_errors() == errors + 2
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("WARNING", "away: no answer"), ("INFO", "back")]
