"""Whatever is wrong with a request has one defined answer, and never a 500."""

import gzip
import io
import json

import pytest
from django.core.handlers.asgi import ASGIRequest

from tests.integration.catalogue.state import read_catalogue
from viewcounter.api.resources.catalogue import ChannelView

ROUTES = [
    ("GET", "/v1/videos/v1", "stats:read"),
    ("PUT", "/v1/videos/v1", "admin"),
    ("GET", "/v1/channels/c1", "stats:read"),
    ("PUT", "/v1/channels/c1", "admin"),
    ("POST", "/v1/catalogue/import", "admin"),
    ("GET", "/v1/videos/v1/counts", "stats:read"),
    ("HEAD", "/v1/videos/v1/counts", "stats:read"),
    ("GET", "/v1/videos/v1/stats", "stats:read"),
    ("POST", "/v1/counts/query", "stats:read"),
    ("GET", "/v1/top", "stats:read"),
]
SCOPES = ["events:write", "stats:read", "admin"]


@pytest.mark.parametrize(("method", "path", "needed"), ROUTES)
def test_each_method_of_each_address_needs_a_key_with_exactly_its_scope(api, method, path, needed):
    missing = api.call(method, path, scope=None)
    assert missing.status_code == 401
    assert missing["WWW-Authenticate"] == 'Bearer realm="viewcounter"'
    for scope in SCOPES:
        status = api.call(method, path, scope=scope).status_code
        assert (status == 403) == (scope != needed)
        assert status not in (401, 500)


@pytest.mark.parametrize(
    "header",
    ["Bearer nonsense", "Bearer vc_000000000000_wrong", "Bearer ", "Basic dXNlcjpwYXNz", "vc_abc_def", "Bearer é"],
)
def test_a_key_that_is_not_valid_is_refused_without_saying_why(api, header):
    response = api.call("GET", "/v1/top?event_type=view", scope=None, headers={"Authorization": header})
    assert (response.status_code, response.json()["code"]) == (401, "invalid_key")


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "POST", "OPTIONS", "TRACE"])
def test_a_method_that_does_not_exist_here_is_405_and_names_those_that_do(api, method):
    response = api.call(method, "/v1/videos/v1", scope="admin")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response["Allow"] == "GET, HEAD, PUT"


def test_an_answer_that_cannot_be_given_in_the_form_wanted_is_406(api):
    response = api.call("GET", "/v1/top?event_type=view", headers={"Accept": "text/csv"})
    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize("path", ["/v1/nothing", "/v2/top", "/v1/top/", "/v1/videos/a%2Fb", "/v1/videos/"])
def test_an_unknown_address_is_404_in_the_same_shape(api, path):
    response = api.call("GET", path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def send(api, content, content_type="application/json", **options):
    return api.call("PUT", "/v1/channels/c1", scope="admin", data=content, content_type=content_type, **options)


@pytest.mark.parametrize(
    "content",
    [b"{", b"not json", b'{"title": NaN}', b'{"title": "\xff"}', b"[" * 100_000, b'{"title": ' + b"9" * 5000 + b"}"],
    ids=["cut", "text", "nan", "latin", "deep", "long number"],
)
def test_a_body_that_is_not_json_is_400_and_changes_nothing(api, content):
    response = send(api, content)
    code = "nested_too_deeply" if content.startswith(b"[") else "malformed_json"
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert read_catalogue() == ({}, {})


def test_a_body_beyond_the_limit_is_413(api):
    response = send(api, json.dumps({"title": "x" * 1024 * 1024}))
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert "1048576" in response.json()["detail"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_of_another_type_is_415(api, content_type):
    response = send(api, b"title=One", content_type)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


def test_a_packed_body_is_415(api):
    response = send(api, gzip.compress(b'{"title": "One"}'), headers={"Content-Encoding": "gzip"})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_encoding")


def test_a_body_without_a_length_is_read_all_the_same(api):
    content = b'{"title": "Chunked"}'
    headers = {
        "content-type": "application/json",
        "transfer-encoding": "chunked",
        "authorization": f"Bearer {api.tokens['admin']}",
    }
    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/v1/channels/c1",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    response = ChannelView.as_view()(ASGIRequest(scope, io.BytesIO(content)), channel_id="c1")
    assert response.status_code == 201
    assert (response.data["channel_id"], response.data["title"]) == ("c1", "Chunked")


def test_too_many_parameters_are_400(api):
    response = api.call("GET", "/v1/top?" + "&".join(f"a{i}=1" for i in range(1001)))
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")
