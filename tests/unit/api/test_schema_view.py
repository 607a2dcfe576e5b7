"""The address of the OpenAPI document, which anybody may ask for as often as they like."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIRequestFactory

from viewcounter.api.openapi.examples import renew_events
from viewcounter.api.resources.schema import SchemaView

THREADS = 8
YAML, JSON = "application/vnd.oai.openapi", "application/vnd.oai.openapi+json"


def get(form: str) -> HttpResponse:
    request = APIRequestFactory().get("/v1/schema", headers={"host": "localhost", "accept": form})
    return SchemaView.as_view()(request)


def test_the_document_is_made_once_for_each_form_however_many_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    get_schema = SchemaGenerator.get_schema

    def count(self: SchemaGenerator, **asked: object) -> object:
        made.append(self)
        return get_schema(self, **asked)

    monkeypatch.setattr(SchemaGenerator, "get_schema", count)
    monkeypatch.setattr(SchemaView, "forms", {})
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(get, [YAML, JSON] * THREADS))
    assert {answer.status_code for answer in answers} == {200}
    assert len(made) == 2
    assert len({answer.content for answer in answers}) == len(answers), "every answer has example events of its own"


def test_the_example_events_of_an_answer_are_of_this_hour_and_nobody_else_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SchemaView, "forms", {})
    old, new = (list_example_events(json.loads(get(JSON).content)) for _ in range(2))
    assert len({event["event_id"] for event in [*old, *new]}) == 4
    content, document = SchemaView.forms[JSON]
    next_week = datetime.now(UTC) + timedelta(days=7)
    renewed = list_example_events(json.loads(renew_events(content, document, now=next_week)))
    ages = [next_week - datetime.fromisoformat(event["occurred_at"]) for event in renewed]
    assert all(timedelta(0) <= age <= timedelta(minutes=65) for age in ages)


def list_example_events(document: Any) -> list[Any]:
    content = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/json"]
    events: list[Any] = content["examples"]["batch"]["value"]["events"]
    assert content["examples"]["one"]["value"] == events[0]
    return events


@pytest.mark.parametrize(
    ("query", "accept", "content_type"),
    [
        ("", "*/*", "application/json"),
        ("", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("?format=json", "application/yaml", "application/json"),
        ("?format=yaml", "*/*", f"{YAML}; charset=utf-8"),
        ("", "application/yaml", "application/yaml; charset=utf-8"),
    ],
)
def test_the_document_is_json_unless_yaml_is_requested(query: str, accept: str, content_type: str) -> None:
    answer = Client().get(f"/v1/schema{query}", headers={"host": "localhost", "accept": accept})
    assert (answer.status_code, answer["Content-Type"]) == (200, content_type)


def test_another_format_is_refused_with_those_that_there_are() -> None:
    answer = Client().get("/v1/schema?format=xml", headers={"host": "localhost"})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"field": "format", "code": "unknown_format", "message": "must be one of: json, yaml"}
    ]


@pytest.mark.parametrize(
    ("form", "content_type", "suffix"), [(YAML, f"{YAML}; charset=utf-8", "yaml"), (JSON, JSON, "json")]
)
def test_the_document_comes_in_the_form_that_was_asked_for(form: str, content_type: str, suffix: str) -> None:
    answer = get(form)
    assert answer.content.startswith(b"{" if form == JSON else b"openapi: 3.1.1")
    assert answer["Content-Type"] == content_type
    assert answer["Content-Disposition"] == f'inline; filename="viewcounter.{suffix}"'


FIRST = """
import django; django.setup()
from rest_framework.test import APIRequestFactory
from viewcounter.api.resources.schema import SchemaView
headers = {"host": "localhost", "accept": "application/vnd.oai.openapi+json"}
request = APIRequestFactory().get("/v1/schema", headers=headers)
print(SchemaView.as_view()(request).content.decode())
"""


def test_the_first_document_of_a_process_refuses_unknown_fields_as_the_service_does() -> None:
    made = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True, timeout=60)
    components = json.loads(made.stdout)["components"]["schemas"]
    assert components["CatalogueImportRequest"]["additionalProperties"] is False
