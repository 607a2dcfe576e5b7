"""The OpenAPI document: valid, without warnings, and with everything that can be called."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.validation import validate_schema


@pytest.fixture(scope="module")
def document():
    GENERATOR_STATS.reset()
    return SchemaGenerator().get_schema(request=None, public=True)


def test_the_document_is_made_without_a_warning_and_is_valid_openapi_3_1(document):
    assert not GENERATOR_STATS, "drf-spectacular has warned: run manage.py spectacular to see of what"
    assert document["openapi"] == "3.1.1"
    validate_schema(document)


def test_the_document_names_every_address_and_method(document):
    assert {(path, method) for path, operations in document["paths"].items() for method in operations} == {
        ("/healthz", "get"),
        ("/metrics", "get"),
        ("/readyz", "get"),
        ("/v1/audit", "get"),
        ("/v1/catalogue/import", "post"),
        ("/v1/channels/{channel_id}", "get"),
        ("/v1/channels/{channel_id}", "put"),
        ("/v1/channels/{channel_id}/counts", "get"),
        ("/v1/channels/{channel_id}/stats", "get"),
        ("/v1/cluster", "get"),
        ("/v1/cluster/history", "get"),
        ("/v1/moves", "get"),
        ("/v1/conflicts", "get"),
        ("/v1/counts/query", "post"),
        ("/v1/dead-letters", "get"),
        ("/v1/dead-letters/replay", "post"),
        ("/v1/dead-letters/{dead_letter_id}", "get"),
        ("/v1/dead-letters/{dead_letter_id}/discard", "post"),
        ("/v1/dead-letters/{dead_letter_id}/replay", "post"),
        ("/v1/events", "get"),
        ("/v1/events", "post"),
        ("/v1/events", "options"),
        ("/v1/kills", "get"),
        ("/v1/partitions", "get"),
        ("/v1/partitions/{partition}/resume", "post"),
        ("/v1/receipts/{event_id}", "get"),
        ("/v1/recounts", "get"),
        ("/v1/recounts", "post"),
        ("/v1/recounts/{recount_id}", "get"),
        ("/v1/top", "get"),
        ("/v1/videos/{video_id}", "get"),
        ("/v1/videos/{video_id}", "put"),
        ("/v1/viewcounter.js", "get"),
        ("/v1/counts.js", "get"),
        ("/v1/videos/{video_id}/badge.svg", "get"),
        ("/v1/videos/{video_id}/counts", "get"),
        ("/v1/videos/{video_id}/counts/stream", "get"),
        ("/v1/videos/{video_id}/stats", "get"),
    }


def test_every_operation_names_the_keys_it_takes_and_may_answer_with_a_problem(document):
    secret, public = {"apiKey": []}, {"publicKey": []}
    others = {
        ("/healthz", "get"): [],
        ("/readyz", "get"): [],
        ("/v1/counts.js", "get"): [],
        ("/v1/videos/{video_id}/counts", "get"): [secret, public],
        ("/v1/counts/query", "post"): [secret, public],
        ("/v1/videos/{video_id}/counts/stream", "get"): [secret, public],
        ("/v1/videos/{video_id}/badge.svg", "get"): [secret, public],
        ("/v1/viewcounter.js", "get"): [],
        ("/v1/events", "options"): [{}, public],
        ("/v1/events", "post"): [secret, public],
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
            assert operation["security"] == others.get((path, method), [secret])


def list_answers(document):
    """Operation, status, content type and content of every answer; shared answers are followed."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                shared = answer.get("$ref", "").rpartition("/")[2]
                described = document["components"]["responses"][shared] if shared else answer
                for content_type, content in described.get("content", {}).items():
                    yield operation["operationId"], status, content_type, content


def test_every_answer_has_an_example_that_fits_its_schema(document):
    form = json.loads(OpenApiJsonRenderer().render(document))
    answers = list(list_answers(form))
    without = [answer[:3] for answer in answers if "example" not in answer[3]]
    # A script has no example but itself.
    assert without == [("getCountsScript", "200", "text/javascript"), ("getSnippet", "200", "text/javascript")]
    for _, _, _, content in answers:
        if "example" in content:
            schema = {**content["schema"], "components": form["components"]}
            jsonschema.validate(content["example"], schema, format_checker=jsonschema.FormatChecker())
            closed = close_objects(schema)
            jsonschema.validate(content["example"], closed)


def close_objects(schema):
    """Objects of the schema refuse fields that it does not name: an example has none of an earlier release."""
    if isinstance(schema, list):
        return [close_objects(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: close_objects(part) for name, part in schema.items()}
    return {"additionalProperties": False, **closed} if "properties" in closed and "type" in closed else closed


def test_operations_with_a_key_name_the_refusals_of_a_key(document):
    for path, operations in document["paths"].items():
        for operation in operations.values():
            statuses = set(operation["responses"])
            assert "400" in statuses
            needs_key = bool(operation["security"]) and {} not in operation["security"]
            assert ({"401", "403", "429"} <= statuses) == needs_key, path


def test_no_generated_package_has_the_name_of_our_client(document):
    name = tomllib.loads(Path("client/pyproject.toml").read_text())["project"]["name"]
    title = document["info"]["title"].lower().replace(" ", "-")
    assert name not in {title, f"{title}-client"}  # the latter is what openapi-python-client makes of a title


def test_no_property_has_the_name_of_its_schema(document):
    for name, schema in document["components"]["schemas"].items():
        assert name.lower() not in {prop.lower() for prop in schema.get("properties", {})}


def test_operation_ids_are_distinct(document):
    ids = [operation["operationId"] for operations in document["paths"].values() for operation in operations.values()]
    assert ids
    assert len(ids) == len(set(ids))


def test_every_link_leads_to_an_operation_and_fills_in_what_it_needs(document):
    operations = {o["operationId"]: o for methods in document["paths"].values() for o in methods.values()}
    links = [
        (operation["operationId"], status, link)
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        for link in answer.get("links", {}).values()
    ]
    assert {(source, link["operationId"]) for source, _, link in links} >= {
        ("postEvents", "getReceipt"),
        ("postEvents", "getVideoCounts"),
        ("putVideo", "getVideo"),
        ("createRecount", "getRecount"),
    }
    for _, status, link in links:
        assert status.startswith("2")
        parameters = operations[link["operationId"]]["parameters"]
        assert link["parameters"].keys() == {p["name"] for p in parameters if p.get("required")}
