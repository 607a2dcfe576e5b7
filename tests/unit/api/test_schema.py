"""The OpenAPI document: valid, without warnings, and with everything that can be called."""

import pytest
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
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
        ("/v1/videos/{video_id}/counts", "get"),
        ("/v1/videos/{video_id}/stats", "get"),
    }


def test_every_operation_names_the_keys_it_takes_and_may_answer_with_a_problem(document):
    secret, public = {"apiKey": []}, {"publicKey": []}
    others = {
        ("/healthz", "get"): [],
        ("/readyz", "get"): [],
        ("/v1/viewcounter.js", "get"): [],
        ("/v1/events", "options"): [{}, public],
        ("/v1/events", "post"): [secret, public],
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
            assert operation.get("security", []) == others.get((path, method), [secret])


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
