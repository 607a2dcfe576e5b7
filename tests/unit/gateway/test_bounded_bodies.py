"""What goes past the lane has its body read within the same bounds, before Django hears of it."""

import asyncio
from typing import Any

import pytest

from tests.unit.gateway.builders import FaultyLog
from viewcounter.config import Config
from viewcounter.gateway.application import Gateway

MAX_BYTES = 1000


def call(chunks: list[bytes], *, headers: dict[str, str], hangs: bool = False) -> tuple[list[Any], list[Any]]:
    """What the inner application received, and what was sent. It reads until the body ends, and once more."""
    received: list[Any] = []
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if messages and not hangs:
        messages[-1]["more_body"] = False

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        return await asyncio.get_running_loop().create_future() if hangs else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def inner(scope: Any, receive: Any, _send: Any) -> None:
        while not received or received[-1]["type"] == "http.request":
            received.append(await receive())

    config = Config(secret_key="x" * 50, request_max_bytes=MAX_BYTES, request_body_seconds=0.05)
    gateway = Gateway(inner, config=config, get_log=FaultyLog)
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": "/v1/top", "method": "POST", "headers": raw}
    asyncio.run(gateway(scope, receive, send))
    return received, sent


@pytest.mark.parametrize("headers", [{"content-length": "6"}, {"transfer-encoding": "chunked"}])
def test_a_body_arrives_as_one_and_the_end_of_the_client_behind_it(headers: dict[str, str]) -> None:
    received, sent = call([b"abc", b"def"], headers=headers)
    assert received == [{"type": "http.request", "body": b"abcdef", "more_body": False}, {"type": "http.disconnect"}]
    assert sent == []


@pytest.mark.parametrize(
    ("chunks", "headers", "hangs", "status"),
    [
        ([b"x" * 600] * 2, {"transfer-encoding": "chunked"}, False, 413),
        ([b"x" * 1001], {"content-length": "1001"}, False, 413),
        ([], {"content-length": "1073741824"}, False, 413),
        ([b"x"], {"content-length": "2"}, True, 408),
    ],
)
def test_a_body_past_its_bounds_is_refused_and_django_never_asked(
    chunks: list[bytes], headers: dict[str, str], hangs: bool, status: int
) -> None:
    received, sent = call(chunks, headers=headers, hangs=hangs)
    assert received == []
    assert sent[0]["status"] == status
    assert b"application/problem+json" in dict(sent[0]["headers"])[b"content-type"]


def test_a_request_without_a_body_is_passed_on_untouched() -> None:
    received, _ = call([], headers={})
    assert received == [{"type": "http.disconnect"}]
