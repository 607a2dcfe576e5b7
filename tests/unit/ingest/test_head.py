"""Of a request's head only what the endpoint needs is kept, and only if it is sane."""

import uuid

import pytest

from runtime.http.errors import Refused
from viewcounter.web.request import Content, Encoding, parse_content, read_head


def content_of(**headers: bytes) -> Content:
    return parse_content(read_head([(name.replace("_", "-").encode(), value) for name, value in headers.items()]))


@pytest.mark.parametrize(
    ("content_type", "is_ndjson"),
    [
        (b"application/json", False),
        (b"application/json; charset=utf-8", False),
        (b'Application/JSON;charset="UTF-8"', False),
        (b"application/x-ndjson", True),
        (b"application/x-ndjson; charset=us-ascii", True),
    ],
)
def test_json_and_ndjson_are_read(content_type: bytes, is_ndjson: bool) -> None:
    assert content_of(content_type=content_type) == Content(is_ndjson, encoding=None)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [(b"gzip", Encoding.GZIP), (b" GZIP ", Encoding.GZIP), (b"zstd", Encoding.ZSTD), (b"Identity", None)],
)
def test_gzip_and_zstd_are_read(name: bytes, encoding: Encoding | None) -> None:
    assert content_of(content_type=b"application/json", content_encoding=name).encoding is encoding


def test_refusal_of_an_encoding_names_those_there_are() -> None:
    with pytest.raises(Refused) as caught:
        content_of(content_type=b"application/json", content_encoding=b"br")
    assert caught.value.headers == ((b"accept-encoding", b"gzip, zstd"),)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "unsupported_media_type"),
        ({"content_type": b"text/plain"}, "unsupported_media_type"),
        ({"content_type": b"\xff\xc3/\xe9"}, "unsupported_media_type"),
        ({"content_type": b"application/x-www-form-urlencoded"}, "unsupported_media_type"),
        ({"content_type": b"application/json; charset=utf-16"}, "unsupported_charset"),
        ({"content_type": b"application/json", "content_encoding": b"br"}, "unsupported_encoding"),
        ({"content_type": b"application/json", "content_encoding": b"gzip, gzip"}, "unsupported_encoding"),
    ],
)
def test_anything_else_is_refused_with_415(headers: dict[str, bytes], code: str) -> None:
    with pytest.raises(Refused) as caught:
        content_of(**headers)
    assert (caught.value.problem.status, caught.value.problem.code) == (415, code)


def test_sane_request_id_of_the_client_is_kept() -> None:
    assert read_head([(b"x-request-id", b"trace-1/2:3")]).request_id == "trace-1/2:3"


@pytest.mark.parametrize("value", [b"", b"a b", b"a\r\nset-cookie: x", b"\xff", b"x" * 129])
def test_strange_request_id_is_replaced_by_a_new_uuid(value: bytes) -> None:
    assert uuid.UUID(read_head([(b"x-request-id", value)]).request_id).version == 4


@pytest.mark.parametrize(("value", "length"), [(b"17", 17), (b"-1", None), (b"9" * 5000, None), (b"x", None)])
def test_content_length_is_a_number_or_not_known(value: bytes, length: int | None) -> None:
    assert read_head([(b"content-length", value)]).content_length == length
