"""Time zones by their IANA name.

Always those of the pinned `tzdata` package, never the operating system's: two processes that disagree about the
day a clock changes would answer the same query with different buckets.
"""

from datetime import UTC, tzinfo
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from viewcounter.queries.errors import InvalidQuery


def get_zone(name: str) -> tzinfo:
    """Raises InvalidQuery for a name that the time zone database does not have."""
    if name == "UTC":
        return UTC
    if name not in _read_names():
        message = "must be a name of the IANA time zone database, for example Europe/Berlin"
        raise InvalidQuery("tz", "unknown_time_zone", message)
    return _load_zone(name)


@cache
def _read_names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text().split())


@cache
def _load_zone(name: str) -> ZoneInfo:
    """Bounded by the number of names, about 600."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
