import json
import uuid

import pytest
from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.http import Http404
from django.test import RequestFactory
from rest_framework import exceptions, serializers

from clusterproxy.errors import NoTopology, ShardUnavailable
from runtime.http.problems import FieldProblem
from shardproxy.errors import BadStatement, DeadlineExceeded, InstanceUnavailable, StatementTimeout
from viewcounter.api.errors import (
    bad_request,
    find_problem,
    flatten_errors,
    page_not_found,
    permission_denied,
    server_error,
)
from viewcounter.api.serializers import CatalogueImportSerializer, CountsQuerySerializer, VideoWriteSerializer
from viewcounter.apikeys.errors import KeysUnavailable
from viewcounter.queries.errors import InvalidQuery, PartitionElsewhere

SECRET = "10.0.0.7:5432 password"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidQuery("limit", "out_of_bounds", "must be from 1 to 500"), 422, "invalid_request"),
        (exceptions.ParseError(), 400, "malformed_json"),
        (exceptions.AuthenticationFailed(code="invalid_key"), 401, "invalid_key"),
        (exceptions.NotAuthenticated(code="missing_key"), 401, "missing_key"),
        (exceptions.PermissionDenied(code="missing_scope"), 403, "missing_scope"),
        (Http404(), 404, "not_found"),
        (exceptions.MethodNotAllowed("DELETE"), 405, "method_not_allowed"),
        (exceptions.NotAcceptable(), 406, "not_acceptable"),
        (RequestDataTooBig(), 413, "body_too_large"),
        (exceptions.UnsupportedMediaType("text/xml"), 415, "unsupported_media_type"),
        (exceptions.Throttled(wait=3), 429, "rate_limited"),
        (NoTopology(SECRET), 503, "no_topology"),
        (KeysUnavailable(SECRET), 503, "keys_unavailable"),
        (OperationalError(SECRET), 503, "control_database_unavailable"),
        (InstanceUnavailable(SECRET, instance=SECRET), 503, "shard_unavailable"),
        (ShardUnavailable(shard=SECRET, partitions=(3,), reason=SECRET, failures={}), 503, "shard_unavailable"),
        (PartitionElsewhere(3, shard_id=1), 503, "shard_unavailable"),
        (DeadlineExceeded(SECRET, instance=SECRET), 504, "deadline_exceeded"),
        (StatementTimeout(SECRET, instance=SECRET), 504, "deadline_exceeded"),
    ],
)
def test_every_known_error_has_a_status_and_a_code_and_tells_no_internals(error, status, code):
    problem = find_problem(error)
    assert (problem.status, problem.code) == (status, code)
    assert SECRET not in problem.detail


@pytest.mark.parametrize("error", [BadStatement("x", instance="a"), ZeroDivisionError(), exceptions.APIException()])
def test_what_is_our_own_fault_is_left_to_django_which_logs_it(error):
    assert find_problem(error) is None


def errors_of(serializer):
    with pytest.raises(serializers.ValidationError) as caught:
        serializer.is_valid(raise_exception=True)
    return [(problem.field, problem.code) for problem in flatten_errors(caught.value.get_full_details())]


@pytest.mark.parametrize(
    ("serializer", "data", "errors"),
    [
        (CountsQuerySerializer, {}, [("video_ids", "required")]),
        (CountsQuerySerializer, [], [("", "invalid")]),
        (CountsQuerySerializer, {"video_ids": []}, [("video_ids", "min_length")]),
        (CountsQuerySerializer, {"video_ids": "abc"}, [("video_ids", "not_a_list")]),
        (CountsQuerySerializer, {"video_ids": ["a", 7]}, [("video_ids[1]", "invalid")]),
        (CountsQuerySerializer, {"video_ids": ["a", "b c"]}, [("video_ids[1]", "invalid_id")]),
        (CountsQuerySerializer, {"video_ids": ["x" * 129]}, [("video_ids[0]", "max_length")]),
        (CountsQuerySerializer, {"video_ids": ["x"] * 501}, [("video_ids", "max_length")]),
        (CountsQuerySerializer, {"video_ids": ["a"], "limit": 3}, [("limit", "unknown_field")]),
        (VideoWriteSerializer, {"title": None}, [("title", "null")]),
        (VideoWriteSerializer, {"title": "x" * 501}, [("title", "max_length")]),
        (VideoWriteSerializer, {"title": "a", "channel_id": ""}, [("channel_id", "blank")]),
        (
            CatalogueImportSerializer,
            {"videos": [{"video_id": "a", "title": "A"}, {"video_id": "b", "title": 1}]},
            [("videos[1].title", "invalid")],
        ),
        (
            CatalogueImportSerializer,
            {"channels": [{"channel_id": str(i), "title": ""} for i in range(1001)]},
            [("", "too_many_items")],
        ),
    ],
)
def test_a_bad_body_is_refused_naming_the_path_into_it(serializer, data, errors):
    assert errors_of(serializer(data=data)) == errors


@pytest.mark.parametrize("title", ["a\x00b", "a\ud800b"])
def test_text_that_the_database_would_refuse_is_refused_before(title):
    assert {field for field, _ in errors_of(VideoWriteSerializer(data={"title": title}))} == {"title"}


def test_text_is_kept_as_sent():
    serializer = VideoWriteSerializer(data={"title": '  two  spaces, "quotes"; and 🎬 ', "channel_id": None})
    assert serializer.is_valid()
    assert serializer.validated_data == {"title": '  two  spaces, "quotes"; and 🎬 ', "channel_id": None}


def test_an_invalid_query_names_its_field():
    problem = find_problem(InvalidQuery("limit", "out_of_bounds", "must be from 1 to 500"))
    assert problem.errors == (FieldProblem("limit", "out_of_bounds", "must be from 1 to 500"),)


@pytest.mark.parametrize(
    ("view", "arguments", "status", "code"),
    [
        (page_not_found, [Http404()], 404, "not_found"),
        (bad_request, [ValueError()], 400, "malformed_request"),
        (bad_request, [RequestDataTooBig()], 413, "body_too_large"),
        (permission_denied, [PermissionError()], 403, "forbidden"),
        (server_error, [], 500, "internal_error"),
    ],
)
def test_errors_outside_of_views_have_the_same_shape(view, arguments, status, code):
    request = RequestFactory().get("/v1/nothing", headers={"X-Request-ID": "abc-123"})
    response = view(request, *arguments)
    body = json.loads(response.content)
    assert response.status_code == body["status"] == status
    assert (body["code"], body["request_id"]) == (code, "abc-123")
    assert response["Content-Type"] == "application/problem+json"
    assert response["X-Request-ID"] == "abc-123"
    assert response["Cache-Control"] == "no-store"


def test_a_request_id_that_could_forge_a_log_line_is_replaced():
    request = RequestFactory().get("/v1/nothing", headers={"X-Request-ID": "a b\tc"})
    body = json.loads(server_error(request).content)
    assert uuid.UUID(body["request_id"]).version == 4
