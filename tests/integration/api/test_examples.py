"""Every example of the OpenAPI document is sent as it stands, and works."""

import asyncio
import json
from urllib.parse import quote, urlencode

import pytest

from tests.unit.ingest.builders import WRITER, FaultyLog, know_key, make_gateway, send
from viewcounter.apikeys.scopes import Scope

LANE = {
    ("/v1/counts.js", "get"),
    ("/v1/events", "post"),
    ("/v1/events", "options"),
    ("/v1/videos/{video_id}/badge.svg", "get"),
    ("/v1/videos/{video_id}/counts/stream", "get"),
    ("/v1/viewcounter.js", "get"),
}
"""Answered in front of Django."""
NOBODY_S = {"/v1/dead-letters/{dead_letter_id}", "/v1/recounts/{recount_id}"}
"""Of what the examples name, there is none."""


def list_operations(document):
    """Writers first: what they write, readers find."""
    order = {"put": 0, "post": 1, "get": 2, "options": 3}
    found = [(path, method, o) for path, operations in document["paths"].items() for method, o in operations.items()]
    return sorted(found, key=lambda each: (order[each[1]], each[0]))


def list_bodies(operation):
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return [content["example"]] if "example" in content else [e["value"] for e in content.get("examples", {}).values()]


def build_path(path, operation):
    parameters = {p["name"]: p for p in operation.get("parameters", ()) if "example" in p}
    required = {p["name"] for p in operation.get("parameters", ()) if p.get("required")}
    assert required <= set(parameters), f"{path} has required parameters without an example"
    query = {name: p["example"] for name, p in parameters.items() if p["in"] == "query"}
    for name, parameter in parameters.items():
        path = path.replace(f"{{{name}}}", quote(str(parameter["example"]), safe=""))
    return f"{path}?{urlencode(query)}" if query else path


def test_every_example_works(api):
    sent = 0
    for path, method, operation in list_operations(api.document):
        if (path, method) in LANE:
            continue
        if "requestBody" in operation:
            assert list_bodies(operation), f"{method} {path} has no example of its body"
        for scope in ("admin", "stats:read"):
            for body in list_bodies(operation) or [None]:
                answer = api.call(method.upper(), build_path(path, operation), scope=scope, body=body)
                if answer.status_code == 403:
                    continue
                is_missing = any(path.startswith(prefix) for prefix in NOBODY_S)
                assert answer.status_code == (404 if is_missing else answer.status_code), answer.content
                assert is_missing or answer.status_code < 300, (method, path, answer.content)
                sent += 1
    assert sent >= len(api.document["paths"])


def test_every_example_of_an_event_is_accepted(document):
    know_key(WRITER, Scope.EVENTS_WRITE)
    bodies = list_bodies(document["paths"]["/v1/events"]["post"])
    assert len(bodies) == 2
    for body in bodies:
        answer = asyncio.run(send(make_gateway(FaultyLog()), json.dumps(body).encode()))
        assert (answer.status, answer.json["rejected"]) == (202, 0)


@pytest.mark.parametrize("path", ["/v1/docs", "/v1/schema"])
def test_the_document_and_its_pages_need_no_key_and_load_nothing_from_elsewhere(api, client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    if path == "/v1/docs":
        text = answer.content.decode()
        assert "http://" not in text.replace("http://testserver", "") and "https://" not in text
        assert "default-src 'none'" in answer["Content-Security-Policy"]
