"""Time zones by name: those of the IANA database in any case, and fixed offsets from UTC.

Always those of the pinned `tzdata` package, never the operating system's: two processes that disagree about the
day a clock changes would answer the same query with different buckets.
"""

import re
from collections.abc import Mapping
from datetime import UTC, timedelta, timezone, tzinfo
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from viewcounter.queries.errors import InvalidQuery

# As in ECMAScript and ISO 8601: +hh:mm, +hhmm, +hh. A + that a URL has turned into a space is one: no name begins so.
_OFFSET = re.compile(r"(?P<sign>[+\- \u2212])(?P<hours>[01]\d|2[0-3])(?::?(?P<minutes>[0-5]\d))?", re.ASCII)

# Names of UTC, and names that browsers (ICU) still report, although the database has dropped them.
_ALIASES = {
    "utc": "UTC",
    "z": "UTC",
    "us/pacific-new": "America/Los_Angeles",
    "canada/east-saskatchewan": "America/Regina",
}


def get_zone(name: str) -> tzinfo:
    """Raises InvalidQuery for a name that is neither of the time zone database nor a fixed offset."""
    canonical = get_zone_name(name)
    if canonical == "UTC":
        return UTC
    offset = _find_offset(canonical)
    return _load_zone(canonical) if offset is None else timezone(offset)


def get_zone_name(text: str) -> str:
    """The name as the database spells it, `UTC`, or an offset as `+05:30`. Raises InvalidQuery as `get_zone`."""
    offset = _find_offset(text)
    if offset is not None:
        return _format_offset(offset)
    lower = text.lower()
    name = _ALIASES.get(lower) or _read_names().get(lower)
    if name is None:
        message = (
            "must be a name of the IANA time zone database, for example Europe/Berlin, or an offset from UTC, for "
            "example +05:30"
        )
        raise InvalidQuery("tz", "unknown_time_zone", message)
    return name


def _find_offset(text: str) -> timedelta | None:
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    size = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"] or 0))
    return size if match["sign"] in "+ " else -size


def _format_offset(offset: timedelta) -> str:
    if not offset:
        return "UTC"
    minutes = abs(offset) // timedelta(minutes=1)
    return f"{'-' if offset < timedelta(0) else '+'}{minutes // 60:02d}:{minutes % 60:02d}"


@cache
def _read_names() -> Mapping[str, str]:
    """By the name in lower case."""
    return {name.lower(): name for name in files("tzdata").joinpath("zones").read_text().split()}


@cache
def _load_zone(name: str) -> ZoneInfo:
    """Bounded by the number of names, about 600."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
