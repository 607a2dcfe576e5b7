"""The five functions over an aggregate, and its units: thousandths inside, the value's own unit outside."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, Self

from viewcounter.events.message import VALUE_SCALE
from viewcounter.queries.errors import InvalidQuery

Number = int | float


class Function(StrEnum):
    COUNT = "count"
    SUM = "sum"
    AVERAGE = "average"
    MIN = "min"
    MAX = "max"

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            return cls(text)
        except ValueError:
            allowed = ", ".join(cls)
            raise InvalidQuery("function", "unknown_function", f"must be one of: {allowed}") from None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Invariant: `count` > 0. `sum`, `min` and `max` are thousandths. No events at all is None, not an Aggregate."""

    count: int
    sum: int
    min: int
    max: int

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self | None:
        """None for a row whose count is null: nothing happened. Sums arrive as numeric, beyond 64 bits if need be."""
        if row["count"] is None:
            return None
        return cls(count=int(row["count"]), sum=int(row["sum"]), min=int(row["min"]), max=int(row["max"]))


def merge(aggregates: Iterable[Aggregate]) -> Aggregate | None:
    """The aggregate of all events of disjoint ones."""
    parts = list(aggregates)
    if not parts:
        return None
    return Aggregate(
        count=sum(a.count for a in parts),
        sum=sum(a.sum for a in parts),
        min=min(a.min for a in parts),
        max=max(a.max for a in parts),
    )


def evaluate_exactly(function: Function, aggregate: Aggregate | None) -> Fraction | None:
    """The function's exact value in units. Of no events: 0 for count and sum, none for the others."""
    if aggregate is None:
        return Fraction(0) if function in (Function.COUNT, Function.SUM) else None
    match function:
        case Function.COUNT:
            return Fraction(aggregate.count)
        case Function.SUM:
            return Fraction(aggregate.sum, VALUE_SCALE)
        case Function.AVERAGE:
            return Fraction(aggregate.sum, VALUE_SCALE * aggregate.count)
        case Function.MIN:
            return Fraction(aggregate.min, VALUE_SCALE)
        case Function.MAX:
            return Fraction(aggregate.max, VALUE_SCALE)


def evaluate(function: Function, aggregate: Aggregate | None) -> Number | None:
    """The value as a client sees it: an integer when whole, else the nearest float."""
    exact = evaluate_exactly(function, aggregate)
    if exact is None:
        return None
    return exact.numerator if exact.denominator == 1 else float(exact)
