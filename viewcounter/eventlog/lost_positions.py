"""How a request is told that the event log has lost what it names."""

from clusterproxy.freshness import LostPosition
from runtime.http.problems import FieldProblem, LostLogRange, Problem
from viewcounter.eventlog.interface import Position

LOST = "lost"
LOST_DETAIL = (
    "The event log has lost acknowledged entries in which these events may have been. Send the events again with the"
    " same ids, and with no Idempotency-Key of before: none is counted twice."
)


def describe_lost_position(lost: LostPosition, *, field: str) -> Problem:
    """`field`: the parameter of the request that is about the position."""
    required, after, through = (str(Position(*place)) for place in (lost.required, lost.after, lost.through))
    message = f"position {required} of partition {lost.partition} is in a range that the event log has lost"
    problems = (FieldProblem(field, LOST, message),)
    return Problem(410, LOST, LOST_DETAIL, problems, lost=(LostLogRange(lost.partition, after, through),))
