"""Every error of the REST API as problem+json: DRF's, Django's and our own, translated in one place."""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC
from http import HTTPStatus
from typing import Any

from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import Resolver404
from django.views import defaults
from rest_framework import exceptions

from clusterproxy.errors import (
    NotFreshEnough,
    NoTopology,
    PositionLost,
    PrimaryUnavailable,
    QuorumUnavailable,
    SourceUnavailable,
    TooManyWaiting,
)
from clusterproxy.freshness import FreshnessLag
from runtime.errors import Retryable
from runtime.http.problems import PROBLEM_CONTENT_TYPE, FieldProblem, Problem, encode_problem
from runtime.metric_files import MetricFilesLocked
from shardproxy.errors import DeadlineExceeded, PoolExhausted, StatementTimeout
from viewcounter.api.request_id import REQUEST_ID_HEADER, get_request_id
from viewcounter.api.suggestions import describe_unknown_path, list_tried_routes
from viewcounter.apikeys.errors import KEYS_UNAVAILABLE_DETAIL, AdminUnconfirmed, KeysUnavailable
from viewcounter.catalogue.errors import NotInCatalogue
from viewcounter.config import get_config
from viewcounter.deadletters.errors import UnknownDeadLetter
from viewcounter.eventlog.errors import EventLogError
from viewcounter.eventlog.interface import Position
from viewcounter.eventlog.lost_positions import describe_lost_position
from viewcounter.maintenance.errors import UnknownRecount
from viewcounter.queries.errors import InvalidQuery, SketchesBehind
from viewcounter.web.site import UNKNOWN_HOST

RETRY_AFTER_SECONDS = 1

# DRF's codes that differ from those of the ingest endpoint for the same error.
_CODES = {"parse_error": "malformed_json", "throttled": "rate_limited"}

_UNAVAILABLE: tuple[tuple[tuple[type, ...], Problem], ...] = (
    (
        (PoolExhausted, TooManyWaiting),
        Problem(503, "overloaded", "Too many queries at once; this one was not executed."),
    ),
    (
        (PrimaryUnavailable,),
        Problem(503, "primary_unavailable", "The shard has no primary right now. Without `strong`, copies may answer."),
    ),
    (
        (QuorumUnavailable,),
        Problem(503, "quorum_unavailable", "Too few copies of the shard answer. Without `quorum`, one is enough."),
    ),
    (
        (DeadlineExceeded, StatementTimeout),
        Problem(504, "deadline_exceeded", "The shard did not answer in time."),
    ),
    (
        (KeysUnavailable,),
        Problem(503, "keys_unavailable", KEYS_UNAVAILABLE_DETAIL),
    ),
    (
        (AdminUnconfirmed,),
        Problem(
            503,
            "admin_unconfirmed",
            "The control database has not confirmed this key for too long; the scope admin waits until it does.",
        ),
    ),
    (
        (OperationalError, InterfaceError),
        Problem(503, "control_database_unavailable", "The control database does not answer."),
    ),
    (
        (NoTopology, SourceUnavailable),
        Problem(503, "no_topology", "The server has no topology of its cluster yet."),
    ),
    (
        (EventLogError,),
        Problem(503, "log_unavailable", "The event log does not answer."),
    ),
    (
        (MetricFilesLocked,),
        Problem(503, "metrics_locked", "The metric files are held by another process."),
    ),
    (
        (SketchesBehind,),
        Problem(
            503, "sketches_behind", "Late or fresh events are not in sketches yet, and too many to be read singly."
        ),
    ),
    (
        (Retryable,),
        Problem(503, "shard_unavailable", "The shard that holds the rows is not available right now."),
    ),
)
"""First match wins. Failures of a dependency; the same request may succeed later."""


class StateConflict(exceptions.APIException):
    """The request is valid, but not possible in the current state of its object."""

    status_code = HTTPStatus.CONFLICT


def handle_error(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """DRF's EXCEPTION_HANDLER. None lets the error through to Django's handler500, which logs it first."""
    problem = find_problem(error)
    if problem is None:
        return None
    response = build_problem_response(context["request"]._request, problem)
    if isinstance(error, exceptions.Throttled) and error.wait is not None:
        response["Retry-After"] = str(math.ceil(error.wait))
    challenge = getattr(error, "auth_header", None)
    if challenge:
        response["WWW-Authenticate"] = challenge
    return response


def build_problem_response(request: HttpRequest, problem: Problem) -> HttpResponse:
    request_id = get_request_id(request)
    response = HttpResponse(
        encode_problem(problem, request_id=request_id), status=problem.status, content_type=PROBLEM_CONTENT_TYPE
    )
    response[REQUEST_ID_HEADER] = request_id
    response["Cache-Control"] = "no-store"
    if problem.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT):
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def find_problem(error: Exception) -> Problem | None:
    """The problem document of an error; None for a fault of the service. Has no hosts, statements or stack traces."""
    match error:
        case InvalidQuery():
            return _invalid((FieldProblem(error.field, error.code, error.message),))
        case exceptions.ValidationError():
            return _invalid(tuple(flatten_errors(error.get_full_details())))
        case exceptions.APIException():
            return _translate_api_exception(error)
        case Http404() | NotInCatalogue() | UnknownRecount() | UnknownDeadLetter():
            return Problem(404, "not_found", str(error) or "There is nothing at this address.")
        case RequestDataTooBig():
            return Problem(413, "body_too_large", f"The body is larger than {get_config().request.max_bytes} bytes.")
    return _find_problem_of_parts(error)


def _find_problem_of_parts(error: Exception) -> Problem | None:
    if isinstance(error, NotFreshEnough):
        return _describe_lag(error.lag)
    if isinstance(error, PositionLost):
        return describe_lost_position(error.lost, field="min_position")
    return next((problem for kinds, problem in _UNAVAILABLE if isinstance(error, kinds)), None)


def flatten_errors(details: Any, path: str = "") -> Iterator[FieldProblem]:
    """DRF's nested details as paths into the body: `videos[3].channel_id`."""
    if isinstance(details, Mapping) and "message" in details and "code" in details:
        yield FieldProblem(path, str(details["code"]), str(details["message"]))
    elif isinstance(details, Mapping):
        for name, nested in details.items():
            yield from flatten_errors(nested, _extend_path(path, name))
    elif all(isinstance(nested, Mapping) and "code" in nested for nested in details):
        for nested in details:
            yield from flatten_errors(nested, path)
    else:
        for index, nested in enumerate(details):
            yield from flatten_errors(nested, f"{path}[{index}]")


def _extend_path(path: str, name: Any) -> str:
    if name == "non_field_errors":
        return path
    if isinstance(name, int):
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else str(name)


def _invalid(errors: tuple[FieldProblem, ...]) -> Problem:
    return Problem(422, "invalid_request", "The request has values that cannot be used.", errors)


def _describe_lag(lag: FreshnessLag) -> Problem:
    reached = str(Position(*lag.reached.position))
    until = f"{lag.reached.watermark.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    place = f"partition {lag.partition} is at {reached}, complete until {until}"
    if lag.required is None:
        code, detail, field = "too_stale", f"No copy is fresh enough: {place}.", "max_staleness"
    else:
        required = Position(*lag.required)
        code, detail, field = "position_not_reached", f"No copy has reached {required}: {place}.", "min_position"
    errors = (FieldProblem(field, code, place),)
    return Problem(504, code, detail, errors, reached={str(lag.partition): reached})


def _translate_api_exception(error: exceptions.APIException) -> Problem | None:
    status = int(error.status_code)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return None
    code = str(error.get_codes())
    return Problem(status, _CODES.get(code, code), str(error.detail))


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404. The admin is for people and keeps its pages."""
    if request.path.startswith("/admin/"):
        return defaults.page_not_found(request, exception)
    routes = list_tried_routes(exception.args[0]) if isinstance(exception, Resolver404) else []
    return build_problem_response(request, Problem(404, "not_found", describe_unknown_path(request.path, routes)))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400: suspicious hosts, broken bodies."""
    if isinstance(exception, RequestDataTooBig):
        problem = find_problem(exception)
        if problem is not None:
            return build_problem_response(request, problem)
    if isinstance(exception, DisallowedHost):
        return build_problem_response(request, UNKNOWN_HOST)
    return build_problem_response(request, Problem(400, "malformed_request", "The request cannot be understood."))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    if request.path.startswith("/admin/"):
        return defaults.permission_denied(request, exception)
    return build_problem_response(request, Problem(403, "forbidden", "This is not allowed."))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500. Django has logged the error with its traceback; the client gets the id to quote."""
    if request.path.startswith("/admin/"):
        return defaults.server_error(request)
    return build_problem_response(request, Problem(500, "internal_error", "Something went wrong on our side."))
