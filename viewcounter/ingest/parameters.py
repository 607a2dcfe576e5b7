"""What a client may ask of the lane besides that its events be stored: parameters of the address, and one header."""

from typing import NamedTuple
from urllib.parse import parse_qsl

from runtime.http.problems import FieldProblem, Problem
from viewcounter.ingest.errors import Refused

_NAMES = ("wait", "key")
_APPLIED = "applied"
_MAX_PARAMETERS = 10


class IngestParams(NamedTuple):
    """`waits`: answer once the events are counted, or when the wait is over. `key`: a public one, for senders that
    cannot set headers."""

    waits: bool
    key: str | None = None


NONE = IngestParams(waits=False)


def parse_params(query: bytes) -> IngestParams:
    """`query` as it stands in the address, raw. Raises Refused (422) naming the parameter."""
    if not query:
        return NONE
    try:
        parameters = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError as error:
        raise _invalid("", "too_many_parameters", f"there may be {_MAX_PARAMETERS}") from error
    found: dict[str, str] = {}
    for name, value in parameters:
        if name not in _NAMES:
            raise _invalid(name[:64], "unknown_parameter", f"is not a parameter here; there are: {', '.join(_NAMES)}")
        if name in found:
            raise _invalid(name, "repeated_parameter", "must be given once")
        found[name] = value
    wait = found.get("wait")
    if wait not in (None, _APPLIED):
        raise _invalid("wait", "unknown_wait", f"must be: {_APPLIED}")
    return IngestParams(waits=wait is not None, key=found.get("key"))


def _invalid(field: str, code: str, message: str) -> Refused:
    problem = FieldProblem(field, code, message)
    return Refused(Problem(422, "invalid_request", "The request has values that cannot be used.", (problem,)))
