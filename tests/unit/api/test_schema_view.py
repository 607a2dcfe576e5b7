"""The address of the OpenAPI document, which anybody may ask for as often as they like."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIRequestFactory

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
    assert len({answer.content for answer in answers}) == 2
    assert len(made) == 2


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
