"""A period compared with the previous one of the same length. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Protocol, TypeVar

from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.functions import Number
from viewcounter.queries.ranges import Period

_DECIMALS = 6


class Compare(StrEnum):
    PREVIOUS = "previous"

    @classmethod
    def parse(cls, text: str) -> "Compare":
        try:
            return cls(text)
        except ValueError:
            raise InvalidQuery("compare", "unknown_comparison", f"must be one of: {', '.join(cls)}") from None


@dataclass(frozen=True, slots=True)
class PeriodDifference:
    """`ratio` is None if the previous value is None or zero, `delta` if either value is None."""

    delta: Number | None
    ratio: float | None


class _HasValue(Protocol):
    @property
    def value(self) -> Number | None: ...


Answer = TypeVar("Answer", bound=_HasValue)


def plan_previous(period: Period) -> Period:
    """Ends where `period` begins. Raises InvalidQuery for an open or empty period, or one before all time."""
    if period.start is None or period.end is None:
        field = "start_time" if period.start is None else "end_time"
        raise InvalidQuery(field, "required", "is required to compare with the previous period")
    if period.start == period.end:
        raise InvalidQuery("end_time", "empty_period", "must be at least a minute after start_time to be compared")
    try:
        return Period(start=period.start - (period.end - period.start), end=period.start)
    except OverflowError:
        raise InvalidQuery("compare", "out_of_range", "the previous period begins before the year 1") from None


def get_previous(get: Callable[[Period], Answer], period: Period) -> Answer:
    """The answer of `get` for the previous period. Raises InvalidQuery naming `compare` if only that one cannot be
    answered."""
    previous = plan_previous(period)
    try:
        return get(previous)
    except InvalidQuery as error:
        message = f"the previous period {previous.start:%Y-%m-%dT%H:%MZ} to {previous.end:%Y-%m-%dT%H:%MZ}: {error}"
        raise InvalidQuery("compare", error.code, message) from error


def subtract(value: Number | None, before: Number | None) -> PeriodDifference:
    if value is None or before is None:
        return PeriodDifference(None, None)
    delta: Number = value - before
    return PeriodDifference(
        delta=delta if isinstance(delta, int) else round(delta, _DECIMALS),
        ratio=round(float(Fraction(value) / Fraction(before)), _DECIMALS) if before else None,
    )
