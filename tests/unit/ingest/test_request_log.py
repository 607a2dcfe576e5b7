"""The id of a request, in front of every application, and the access log."""

import asyncio
import logging
from typing import Any

import pytest

from runtime.http.asgi import Receive, Send, respond
from runtime.logs import add_log_fields, find_log_fields
from viewcounter.web.request import read_head
from viewcounter.web.request_log import RequestLog
from viewcounter.web.settings import AccessLog

Headers = list[tuple[bytes, bytes]]


def serve(
    status: int | None, headers: Headers, *, access_log: AccessLog = "none", answered: Headers | None = None
) -> tuple[str, dict[bytes, bytes]]:
    """The id that the inner application saw, and the headers of the answer."""
    seen: list[str] = []
    sent: list[dict[str, Any]] = []

    async def inner(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        seen.append(read_head(scope["headers"]).request_id)
        add_log_fields(key_prefix="vc_1")
        if status is not None:
            await respond(send, status, answered or ())

    async def receive() -> dict[str, Any]:
        raise AssertionError("no body")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/a\nb", "raw_path": b"/a%0Ab", "query_string": b"key=vcp_secret",
        "headers": headers, "client": ("192.0.2.7", 9),
    }  # fmt: skip
    asyncio.run(RequestLog(inner, access_log=access_log)(scope, receive, send))
    return seen[0], dict(sent[0]["headers"]) if sent else {}


def test_an_answer_without_an_id_gets_the_one_that_the_application_saw():
    seen, answer = serve(404, [(b"host", b"x")])
    assert answer == {b"x-request-id": seen.encode()}
    assert len(seen) == 36


def test_the_id_of_the_client_is_kept_and_an_unfit_one_is_replaced():
    assert serve(200, [(b"x-request-id", b"mine-1")]) == ("mine-1", {b"x-request-id": b"mine-1"})
    seen, answer = serve(200, [(b"x-request-id", b"two words")])
    assert seen != "two words"
    assert answer == {b"x-request-id": seen.encode()}


def test_an_answer_with_an_id_keeps_one():
    assert serve(200, [], answered=[(b"x-request-id", b"own")])[1] == {b"x-request-id": b"own"}


@pytest.mark.parametrize(
    ("access_log", "status", "written"),
    [("none", 500, 0), ("failed", 200, 0), ("failed", 404, 1), ("failed", None, 1), ("all", 200, 1)],
)
def test_which_requests_are_in_the_access_log(
    access_log: AccessLog, status: int | None, written: int, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "viewcounter.access")
    serve(status, [], access_log=access_log)
    assert len(caplog.records) == written


def test_a_line_of_the_access_log_names_request_and_key_but_no_query(caplog: pytest.LogCaptureFixture):
    written: list[dict[str, Any]] = []
    caplog.set_level(logging.INFO, "viewcounter.access")
    caplog.handler.addFilter(lambda record: bool(written.append(find_log_fields(record))) or True)
    serve(422, [(b"x-request-id", b"mine-1")], access_log="all")
    fields = written[0]
    assert fields.pop("duration_ms") >= 0
    assert fields == {
        "request_id": "mine-1", "key_prefix": "vc_1", "method": "GET", "path": "/a%0Ab", "status": 422,
        "client_address": "192.0.2.7",
    }  # fmt: skip
    assert "secret" not in caplog.text
