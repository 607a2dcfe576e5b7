"""What goes past the endpoint has its key checked first and its body read after that, before Django hears of it."""

import asyncio
from typing import Any

import pytest

from tests.settings import configure
from tests.unit.ingest.builders import READER, FaultyLog
from viewcounter.apikeys.errors import InvalidKey
from viewcounter.web.application import Gateway
from viewcounter.web.checked_requests import KEY_VERDICT

MAX_BYTES = 1000
KNOWN = {"authorization": f"Bearer {READER}"}
MALFORMED = {"authorization": "Bearer vc_0"}
EMPTY = {"type": "http.request", "body": b"", "more_body": False}
GONE = {"type": "http.disconnect"}


class Exchange:
    """One request. The inner application reads until the body ends, and once more."""

    def __init__(
        self, chunks: list[bytes], *, headers: dict[str, str], path: str = "/v1/top", hangs: bool = False
    ) -> None:
        self.received: list[Any] = []
        self.sent: list[Any] = []
        self.verdict: Any = None
        self._messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        if self._messages and not hangs:
            self._messages[-1]["more_body"] = False
        self._hangs = hangs
        raw = [(b"host", b"localhost"), *((name.encode(), value.encode()) for name, value in headers.items())]
        self._scope = {"type": "http", "path": path, "method": "POST", "headers": raw}

    @property
    def unread(self) -> int:
        return len(self._messages)

    def run(self, **settings: Any) -> "Exchange":
        config = configure(request_max_bytes=MAX_BYTES, request_body_seconds=0.05, **settings)
        gateway = Gateway(self._serve, config=config, get_log=FaultyLog)
        asyncio.run(gateway(self._scope, self._receive, self._send))
        return self

    async def _receive(self) -> Any:
        if self._messages:
            return self._messages.pop(0)
        return await asyncio.get_running_loop().create_future() if self._hangs else GONE

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    async def _serve(self, scope: Any, receive: Any, _send: Any) -> None:
        self.verdict = scope.get(KEY_VERDICT)
        self.received.append(await receive())
        self.unread_when_served = self.unread
        while self.received[-1]["type"] == "http.request":
            self.received.append(await receive())


@pytest.mark.parametrize("headers", [{"content-length": "6"}, {"transfer-encoding": "chunked"}])
def test_body_of_a_known_key_arrives_as_one_and_the_end_of_the_client_behind_it(headers: dict[str, str]) -> None:
    exchange = Exchange([b"abc", b"def"], headers={**KNOWN, **headers}).run()
    assert exchange.received == [{"type": "http.request", "body": b"abcdef", "more_body": False}, GONE]
    assert exchange.verdict.prefix == READER.split("_")[1]
    assert exchange.sent == []


@pytest.mark.parametrize(
    ("chunks", "headers", "hangs", "status"),
    [
        ([b"x" * 600] * 2, {"transfer-encoding": "chunked"}, False, 413),
        ([b"x" * 1001], {"content-length": "1001"}, False, 413),
        ([], {"content-length": "1073741824"}, False, 413),
        ([b"x"], {"content-length": "2"}, True, 408),
    ],
)
def test_body_past_its_bounds_is_refused_and_django_never_asked(
    chunks: list[bytes], headers: dict[str, str], hangs: bool, status: int
) -> None:
    exchange = Exchange(chunks, headers={**KNOWN, **headers}, hangs=hangs).run()
    assert exchange.received == []
    assert exchange.sent[0]["status"] == status
    assert b"application/problem+json" in dict(exchange.sent[0]["headers"])[b"content-type"]


@pytest.mark.parametrize(("key", "verdict"), [({}, type(None)), (MALFORMED, InvalidKey)])
def test_without_a_valid_key_django_answers_before_anything_of_the_body_is_read(
    key: dict[str, str], verdict: type
) -> None:
    exchange = Exchange([b"x" * 600] * 5, headers={**key, "content-length": "3000"}).run()
    assert exchange.received == [EMPTY, GONE]
    assert exchange.unread_when_served == 5
    assert isinstance(exchange.verdict, verdict)
    assert exchange.sent == []


def test_body_by_plain_http_is_not_read_where_django_redirects() -> None:
    exchange = Exchange([b"abc"], headers={**KNOWN, "content-length": "3"}).run(site_https_only=True)
    assert (exchange.received, exchange.unread_when_served, exchange.verdict) == ([EMPTY, GONE], 1, None)


def test_forms_of_the_admin_are_read_without_a_key() -> None:
    exchange = Exchange([b"abc"], headers={"content-length": "3"}, path="/admin/login/").run()
    assert exchange.received == [{"type": "http.request", "body": b"abc", "more_body": False}, GONE]


def test_request_without_a_body_has_its_key_checked_and_is_passed_on() -> None:
    exchange = Exchange([], headers=KNOWN).run()
    assert exchange.received == [GONE]
    assert exchange.verdict.prefix == READER.split("_")[1]
