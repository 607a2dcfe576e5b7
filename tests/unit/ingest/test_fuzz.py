"""Whatever a client sends, the response is intended: never a 500, and exact about the stored events."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiers import scale_examples
from tests.unit.ingest.builders import WRITER, FaultyLog, Response, know_key, make_event, make_gateway, send
from viewcounter.apikeys.scopes import Scope
from viewcounter.events.message import Event

EXAMPLES = scale_examples(150)
ANSWERS = {202, 207, 400, 408, 413, 415, 422}

BAD_STARTS = [b"[" * 50_000, b'{"events":' * 20_000, b"9" * 50_000, b"\xef\xbb\xbf[]", b'"\\ud800"', b"\x00", b"{"]

numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([2**63, -(2**63) - 1, 10**400, float("nan"), float("inf"), -0.0, 5e-324]),
)
texts = st.one_of(st.text(), st.sampled_from(["", "\x00", "\ud800", "\ufeff", "a/b", "x" * 10_000, "\u202e", "1e999"]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
events = st.builds(
    lambda changes, extra: {**make_event(), **changes, **extra},
    st.dictionaries(st.sampled_from(Event.__struct_fields__), values, max_size=2),
    st.dictionaries(texts, values, max_size=1),
)
documents = st.one_of(
    values, events, st.lists(st.one_of(events, values), max_size=5), st.builds(lambda e: {"events": e}, values)
)
noise = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [b"[" * 50_000, b'{"events":' * 20_000, b"9" * 50_000, b"\xef\xbb\xbf[]", b'"\\ud800"', b"\x00", b"{"]
    ),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Documents, damaged or not, packed or not, and what is none."""
    body = draw(st.one_of(noise, documents.map(_dump)))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=4)) + body[at + draw(st.integers(0, 4)) :]
    return body


def _dump(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


encodings = st.sampled_from([None, "gzip", "zstd", "identity", "br", "gzip, zstd"])
types = st.sampled_from(["application/json", "application/x-ndjson", "text/plain", "application/json; charset=utf-8"])


class Endpoint:
    """One gateway for all examples. `ask` says with the answer how many events the log took."""

    def __init__(self) -> None:
        self._log = FaultyLog()
        self._runner = asyncio.Runner()
        self._gateway = make_gateway(self._log)

    def ask(self, body: bytes | list[bytes], **options: Any) -> tuple[Response, int]:
        know_key(WRITER, Scope.EVENTS_WRITE)  # known for seconds only
        before = sum(self._log.append_sizes)
        response = self._runner.run(send(self._gateway, body, **options))
        return response, sum(self._log.append_sizes) - before

    def close(self) -> None:
        self._runner.close()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


def check(response: Response, stored: int) -> None:
    assert response.status in ANSWERS, response.body
    if response.headers["content-type"] == "application/json":
        answer = response.json
        assert (answer["accepted"], len(answer["items"])) == (stored, answer["rejected"])
        assert response.status == (202 if not answer["rejected"] else 207 if stored else 422)
    else:
        assert stored == 0
        assert response.json["status"] == response.status


@settings(max_examples=EXAMPLES)
@given(body=bodies(), content_type=types, encoding=encodings, packs=st.booleans())
def test_no_body_is_answered_with_a_500(
    endpoint: Endpoint, body: bytes, content_type: str, encoding: str | None, packs: bool
) -> None:
    if packs and encoding in ("gzip", "zstd"):
        body = (gzip.compress if encoding == "gzip" else zstd.compress)(body)
    headers = {} if encoding is None else {"Content-Encoding": encoding}
    check(*endpoint.ask([body[:3], body[3:]], content_type=content_type, headers=headers))


@settings(max_examples=EXAMPLES)
@given(lines=st.lists(st.one_of(events.map(_dump), noise.map(lambda raw: raw.replace(b"\n", b""))), max_size=6))
def test_no_lines_are_answered_with_a_500(endpoint: Endpoint, lines: list[bytes]) -> None:
    check(*endpoint.ask(b"\n".join(lines), content_type="application/x-ndjson"))


headers = st.dictionaries(
    st.sampled_from(["authorization", "content-length", "content-encoding", "x-request-id", "idempotency-key", "x"]),
    st.text(st.characters(max_codepoint=255), max_size=40),
    max_size=4,
)


@settings(max_examples=EXAMPLES)
@given(
    head=headers,
    query=st.text(st.characters(max_codepoint=127), max_size=40),
    content_type=st.text(st.characters(max_codepoint=255), max_size=40),
    method=st.sampled_from(["POST", "PUT", "DELETE", "PATCH", "TRACE", "", "post"]),
)
def test_no_head_is_answered_with_a_500(
    endpoint: Endpoint, head: dict[str, str], query: str, content_type: str, method: str
) -> None:
    options = {"headers": head, "query": query, "content_type": content_type, "method": method}
    response, stored = endpoint.ask(_dump(make_event()), **options)
    assert response.status in ANSWERS | {401, 403, 405}
    assert stored == (1 if response.status == 202 else 0)
