"""Errors in the OpenAPI document: one shape, and which operation may answer with which of them."""
# ruff: noqa: ARG001 (drf-spectacular gives its hooks more than they need)

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from runtime.http.problems import PROBLEM_CONTENT_TYPE, FieldProblem, LostLogRange, Problem, encode_problem
from viewcounter.eventlog.lost_positions import LOST, LOST_DETAIL
from viewcounter.queries.functions import Function
from viewcounter.queries.sketched import SketchFunction

Document = dict[str, Any]

_TEXT = {"type": "string"}
_EXAMPLE_REQUEST_ID = "8f0c9d4e0c3b4f0f9d2a5a7f6f3f2b10"

_FIELD_PROBLEM: Document = {
    "type": "object",
    "required": ["field", "code", "message"],
    "properties": {
        "field": {**_TEXT, "description": "A parameter or a path into the body, such as `videos[3].channel_id`."},
        "code": {**_TEXT, "description": "Stable, for programs."},
        "message": {**_TEXT, "description": "For people."},
    },
}

_LOST_RANGE: Document = {
    "type": "object",
    "required": ["partition", "after", "through"],
    "properties": {
        "partition": {"type": "integer", "minimum": 0},
        "after": {**_TEXT, "description": "Entries past this position, up to `through`, may be lost."},
        "through": _TEXT,
    },
}

_PROBLEM: Document = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {**_TEXT, "format": "uri"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "code": {**_TEXT, "description": "Stable, for programs."},
        "request_id": {**_TEXT, "description": "Quote it in questions about this error."},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldProblem"}},
        "reached": {
            "type": "object",
            "additionalProperties": _TEXT,
            "description": "With `position_not_reached` and `too_stale`: the partition, and the position it is at.",
        },
        "lost": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/LostLogRange"},
            "description": "With `lost`: the range of a partition's log that holds the position of the request.",
        },
    },
}


class _Answer(NamedTuple):
    """A response of `#/components/responses`, which operations of one status share."""

    name: str
    description: str
    problem: Problem


_UNKNOWN_FUNCTION = FieldProblem(
    "function", "unknown_function", f"must be one of: {', '.join([*Function, *SketchFunction])}"
)
_ANSWERS = {
    "400": _Answer("BadRequest", "The request cannot be read.", Problem(400, "malformed_json", "JSON parse error")),
    "401": _Answer(
        "Unauthorized",
        "No API key, or one that is not valid.",
        Problem(401, "missing_key", "Send an API key as 'Authorization: Bearer <key>'."),
    ),
    "403": _Answer(
        "Forbidden",
        "The API key is valid, and lacks the scope.",
        Problem(403, "missing_scope", "This needs the scope admin; the key db6745ebef25 lacks it."),
    ),
    "404": _Answer("NotFound", "There is no such object.", Problem(404, "not_found", "no video 'XpVt6Z1Gjjo'")),
    "409": _Answer(
        "Conflict",
        "Not possible in the present state of the object.",
        Problem(409, "already_discarded", "The dead letter is discarded."),
    ),
    "410": _Answer(
        "Lost",
        "The event log has lost entries in which the events of `min_position`, `position` or `wait=applied` may have "
        "been: send the events again with the same ids. `lost` names the range.",
        Problem(
            410,
            LOST,
            LOST_DETAIL,
            (FieldProblem("min_position", LOST, "position 1-42 of partition 7 is lost"),),
            lost=(LostLogRange(7, "1-40", "2-0"),),
        ),
    ),
    "413": _Answer(
        "BodyTooLarge",
        "The body exceeds the limit.",
        Problem(413, "body_too_large", "The body is larger than 1048576 bytes."),
    ),
    "415": _Answer(
        "UnsupportedMediaType",
        "The body is of another type.",
        Problem(415, "unsupported_media_type", 'Unsupported media type "text/xml" in request.'),
    ),
    "422": _Answer(
        "InvalidRequest",
        "A parameter or a field cannot be used; `errors` names it.",
        Problem(422, "invalid_request", "The request has values that cannot be used.", (_UNKNOWN_FUNCTION,)),
    ),
    "429": _Answer(
        "RateLimited",
        "The key is used more often than it may be; `Retry-After` has the seconds until then.",
        Problem(429, "rate_limited", "Request was throttled. Expected available in 1 second."),
    ),
    "default": _Answer(
        "Problem",
        "Any other error. 503 and 504 carry Retry-After; the same request may succeed then.",
        Problem(503, "shard_unavailable", "The shard that holds the rows is not available right now."),
    ),
}
_OBJECTS = frozenset({"getVideo", "getChannel", "getDeadLetter", "replayDeadLetter", "discardDeadLetter", "getRecount"})
"""Operations on one object by its id, which there may be none of."""
_STATEFUL = frozenset({"replayDeadLetter", "discardDeadLetter"})


def add_problem_answers(result: Document, generator: Any, request: Any, public: bool) -> Document:
    """drf-spectacular's postprocessing hook: the errors of every operation. Those it has already stay."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {}).update(
        {"Problem": _PROBLEM, "FieldProblem": _FIELD_PROBLEM, "LostLogRange": _LOST_RANGE}
    )
    components.setdefault("responses", {}).update({answer.name: _describe(answer) for answer in _ANSWERS.values()})
    for operations in result["paths"].values():
        for operation in operations.values():
            for status in _list_statuses(operation):
                reference = {"$ref": f"#/components/responses/{_ANSWERS[status].name}"}
                own = operation["responses"].setdefault(status, reference)
                if PROBLEM_CONTENT_TYPE in own.get("content", {}):
                    own["content"][PROBLEM_CONTENT_TYPE] = _describe_content(_ANSWERS[status])
    return result


def _list_statuses(operation: Document) -> Iterator[str]:
    """400 of every operation: the name of the host may be no name of the service."""
    yield "400"
    if {} not in operation["security"] and operation["security"]:
        yield from ("401", "403", "429")
    if operation["operationId"] in _OBJECTS:
        yield "404"
    if operation["operationId"] in _STATEFUL:
        yield "409"
    if _can_name_a_position(operation):
        yield "410"
    if "requestBody" in operation:
        yield from ("413", "415")
    if "requestBody" in operation or operation.get("parameters"):
        yield "422"
    yield "default"


def _can_name_a_position(operation: Document) -> bool:
    names = {parameter.get("name") for parameter in operation.get("parameters", [])}
    return not names.isdisjoint({"min_position", "position", "wait"})


def _describe(answer: _Answer) -> Document:
    return {"description": answer.description, "content": {PROBLEM_CONTENT_TYPE: _describe_content(answer)}}


def _describe_content(answer: _Answer) -> Document:
    example = json.loads(encode_problem(answer.problem, request_id=_EXAMPLE_REQUEST_ID))
    return {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
