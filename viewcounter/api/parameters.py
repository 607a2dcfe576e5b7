"""Query parameters and ids of a URL: each at most once, none unknown, each either usable or named in a 422.

A misspelt parameter must not be ignored: `strat_time` would silently turn the answer for an hour into the
answer for all time.
"""

from collections.abc import Collection
from datetime import datetime

from django.http import QueryDict
from msgspec import ValidationError, convert

from viewcounter.events.message import VIDEO_ID_MAX_CHARACTERS, VideoId, normalize_id
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import Period, effective_period, parse_instant

INTEGER_MAX_DIGITS = 10


def check_parameters(query: QueryDict, *, allowed: Collection[str]) -> None:
    """Raises InvalidQuery for an unknown or a repeated parameter."""
    for name, values in query.lists():
        if name not in allowed:
            known = ", ".join(allowed) if allowed else "none"
            raise InvalidQuery(name[:64], "unknown_parameter", f"is not a parameter here; there are: {known}")
        if len(values) > 1:
            raise InvalidQuery(name, "repeated_parameter", "must be given once")


def get_required(query: QueryDict, name: str) -> str:
    value: str | None = query.get(name)
    if not value:
        raise InvalidQuery(name, "required", "is required")
    return value


def get_integer(query: QueryDict, name: str, *, default: int) -> int:
    value = query.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.removeprefix("-").isdecimal() and len(value) <= INTEGER_MAX_DIGITS):
        raise InvalidQuery(name, "not_an_integer", "must be a whole number")
    return int(value)


def get_period(query: QueryDict) -> Period:
    """From `start_time` and `end_time`; both are optional."""
    return effective_period(start=find_instant(query, "start_time"), end=find_instant(query, "end_time"))


def find_instant(query: QueryDict, name: str) -> datetime | None:
    value = query.get(name)
    return None if value is None else parse_instant(name, value)


def find_partition(query: QueryDict, *, partition_count: int) -> int | None:
    if "partition" not in query:
        return None
    return check_partition(get_integer(query, "partition", default=0), partition_count=partition_count)


def check_partition(partition: int, *, partition_count: int) -> int:
    if not 0 <= partition < partition_count:
        raise InvalidQuery("partition", "unknown_partition", f"must be 0 to {partition_count - 1}")
    return partition


def get_limit(query: QueryDict, *, default: int, most: int) -> int:
    limit = get_integer(query, "limit", default=default)
    if not 1 <= limit <= most:
        raise InvalidQuery("limit", "out_of_range", f"must be 1 to {most}")
    return limit


def check_id(field: str, value: str) -> str:
    """An id that an event could carry, in the normal form in which it is stored. Raises InvalidQuery for others."""
    value = normalize_id(value)
    try:
        return convert(value, VideoId)
    except ValidationError:
        if len(value) > VIDEO_ID_MAX_CHARACTERS:
            message = f"must have at most {VIDEO_ID_MAX_CHARACTERS} characters, not {len(value)}"
            raise InvalidQuery(field, "too_long", message) from None
        message = "must not be empty, '.' or '..', nor contain white space, invisible characters or '/'"
        raise InvalidQuery(field, "invalid_id", message) from None
