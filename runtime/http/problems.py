"""The one shape of an HTTP error (RFC 9457, problem+json), used by the ingest endpoint and the REST views."""

from http import HTTPStatus

import msgspec

PROBLEM_CONTENT_TYPE = "application/problem+json"


class FieldProblem(msgspec.Struct, frozen=True):
    """One thing wrong with the request. `field` is a parameter or a path into the body, empty for the whole."""

    field: str
    code: str
    message: str


class LostLogRange(msgspec.Struct, frozen=True):
    """Entries of a partition's log past the position `after`, up to and including `through` (both `term-seq`)."""

    partition: int
    after: str
    through: str


class Problem(msgspec.Struct, frozen=True):
    """`code` is stable and for machines; `detail` is for people and never carries internals.

    `reached`: the position of a partition that lags behind the requested one, by its number. `lost`: ranges of the
    event log that hold a position of the request.
    """

    status: int
    code: str
    detail: str
    errors: tuple[FieldProblem, ...] = ()
    reached: dict[str, str] = {}
    lost: tuple[LostLogRange, ...] = ()


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: tuple[FieldProblem, ...] = ()
    reached: dict[str, str] = {}
    lost: tuple[LostLogRange, ...] = ()


_encoder = msgspec.json.Encoder()


def encode_problem(problem: Problem, *, request_id: str) -> bytes:
    """The body to send as `PROBLEM_CONTENT_TYPE` with the status `problem.status`."""
    return _encoder.encode(
        _Body(
            type=f"urn:viewcounter:problem:{problem.code}",
            title=HTTPStatus(problem.status).phrase,
            status=problem.status,
            detail=problem.detail,
            code=problem.code,
            request_id=request_id,
            errors=problem.errors,
            reached=problem.reached,
            lost=problem.lost,
        )
    )
