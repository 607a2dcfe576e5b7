"""The five functions over an aggregate, and its units: thousandths inside, the value's own unit outside."""

from collections.abc import Callable, Iterable, Mapping, Sequence
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

    @property
    def is_extreme(self) -> bool:
        """Whether it needs the least and greatest value of each part of a period, which sums do not tell."""
        return self in (Function.MIN, Function.MAX)

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            return cls(text)
        except ValueError:
            allowed = ", ".join(cls)
            raise InvalidQuery("function", "unknown_function", f"must be one of: {allowed}") from None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Invariant: `count` > 0. `sum`, `min` and `max` are thousandths; the latter two are None where they were not read.
    No events at all is None, not an Aggregate."""

    count: int
    sum: int
    min: int | None
    max: int | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self | None:
        """None for a row whose count is null: nothing happened. Sums arrive as numeric, beyond 64 bits if need be."""
        return None if row["count"] is None else cls.from_rows([row])

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Self:
        """Of at least one row with a count. Makes no object for each of them: a channel has thousands."""
        return cls(
            count=sum(int(row["count"]) for row in rows),
            sum=sum(int(row["sum"]) for row in rows),
            min=_reduce_known(min, [row["min"] for row in rows]),
            max=_reduce_known(max, [row["max"] for row in rows]),
        )


def merge(aggregates: Iterable[Aggregate]) -> Aggregate | None:
    """The aggregate of all events of disjoint ones."""
    parts = list(aggregates)
    if not parts:
        return None
    return Aggregate(
        count=sum(a.count for a in parts),
        sum=sum(a.sum for a in parts),
        min=_reduce_known(min, [a.min for a in parts]),
        max=_reduce_known(max, [a.max for a in parts]),
    )


def _reduce_known(choose: Callable[[Sequence[Any]], Any], values: Sequence[Any]) -> int | None:
    """None if one of the values was not read."""
    return None if None in values else int(choose(values))


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
            return Fraction(_get_known(aggregate.min), VALUE_SCALE)
        case Function.MAX:
            return Fraction(_get_known(aggregate.max), VALUE_SCALE)


def _get_known(extreme: int | None) -> int:
    """Raises TypeError for one that the statement was not asked for."""
    if extreme is None:
        raise TypeError("min and max were not read")
    return extreme


def evaluate(function: Function, aggregate: Aggregate | None) -> Number | None:
    """The value as a client sees it: an integer when whole, else the nearest float."""
    exact = evaluate_exactly(function, aggregate)
    if exact is None:
        return None
    return exact.numerator if exact.denominator == 1 else float(exact)
