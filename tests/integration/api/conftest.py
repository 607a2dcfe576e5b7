"""Django's test client on real shards, with one key for each scope."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jsonschema
import pytest
from django.http import HttpResponse
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from pytest_django.plugin import DjangoDbBlocker

from clusterproxy.proxy import ClusterProxy
from viewcounter.api.resources.health import get_readiness_probe
from viewcounter.apikeys.authentication import get_key_cache
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.models import ApiKey
from viewcounter.apikeys.scopes import Scope
from viewcounter.catalogue.models import Channel, Video


@dataclass
class Api:
    """Sends requests with the key of a scope; every answer is held to the OpenAPI document."""

    cluster: ClusterProxy
    tokens: dict[str, str]
    document: dict[str, Any]

    def call(
        self, method: str, path: str, *, scope: str | None = "stats:read", body: Any = None, **options: Any
    ) -> HttpResponse:
        headers = dict(options.pop("headers", {}))
        if scope is not None:
            headers.setdefault("Authorization", f"Bearer {self.tokens[scope]}")
        if body is not None:
            options |= {"data": json.dumps(body), "content_type": "application/json"}
        response = Client(raise_request_exception=False).generic(method, path, headers=headers, **options)
        if response.status_code >= 400 and method != "HEAD" and path != "/readyz":
            assert response["Content-Type"] == "application/problem+json"
            assert response["Cache-Control"] == "no-store"
            assert response.json()["request_id"] == response["X-Request-ID"]
            self.check(response.json(), {"$ref": "#/components/schemas/Problem"})
        return response

    def get(self, path: str, template: str, **options: Any) -> Any:
        """The body of a 200, checked against the document's answer of `template`."""
        return self._answer(self.call("GET", path, **options), "get", template)

    def post(self, path: str, body: Any, **options: Any) -> Any:
        return self._answer(self.call("POST", path, body=body, **options), "post", path)

    def _answer(self, response: HttpResponse, method: str, template: str) -> Any:
        assert response.status_code == 200, response.content
        answers = self.document["paths"][template][method]["responses"]
        self.check(response.json(), answers["200"]["content"]["application/json"]["schema"])
        return response.json()

    def check(self, body: Any, schema: dict[str, Any]) -> None:
        jsonschema.validate(body, {**schema, "components": self.document["components"]})


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    return json.loads(OpenApiJsonRenderer().render(SchemaGenerator().get_schema(request=None, public=True)))


@pytest.fixture
def api(clean_cluster: ClusterProxy, document: dict[str, Any], django_db_blocker: DjangoDbBlocker) -> Iterator[Api]:
    """Empty shards, an empty catalogue, keys named by their only scope, and nothing remembered of any of it."""
    with django_db_blocker.unblock():
        forget()
        tokens = {scope.value: create_key(scope.value, [scope])[1] for scope in Scope}
        yield Api(cluster=clean_cluster, tokens=tokens, document=document)
        forget()


def forget() -> None:
    ApiKey.objects.all().delete()
    Video.objects.all().delete()
    Channel.objects.all().delete()
    get_key_cache().clear()
    get_readiness_probe.cache_clear()
