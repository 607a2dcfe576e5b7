"""Reads times as clients write them, in events and in queries alike: RFC 3339, cut to microseconds and never rounded.

Rounding would move 23:59:59.9999999 into the next day. A leap second counts as the last microsecond of its minute,
because neither Python nor PostgreSQL has it.
"""

import re
from datetime import UTC, datetime, timedelta

from runtime.errors import Permanent

MICROSECOND_DIGITS = 6
# Also a space for the "T", which RFC 3339 allows, and an offset without the colon, which ISO 8601 does.
_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:)(\d{2})(?:\.(\d+))?(?:([Zz])|([+-]\d{2}):?(\d{2}))", re.ASCII
)
_LEAP_SECOND = "60"
_LONGEST_READ = 100  # characters
_ALMOST = re.compile(
    r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})"
    r"(?:(?:[Tt_,]|\s)\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?)?"
    r"\s*(?:([Zz]|UTC|GMT)|([+-])(\d{1,2})(?::?(\d{2}))?)?",
    re.ASCII,
)
_SECONDS = re.compile(r"\d{10}(\d{3})?", re.ASCII)


class NotATime(Permanent, ValueError):
    """`nearest`: the RFC 3339 time that was probably meant, from digits of the text only; None if none was found.

    `lacks_offset`: nothing but the offset from UTC is missing.
    """

    def __init__(self, nearest: str | None, *, lacks_offset: bool = False) -> None:
        super().__init__("not an RFC 3339 time")
        self.nearest = nearest
        self.lacks_offset = lacks_offset


def parse_time(text: str) -> datetime:
    """In UTC. Raises NotATime."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise _explain(text[:_LONGEST_READ])
    date, minute, second, fraction, zulu, hours, minutes = found.groups()
    if second == _LEAP_SECOND:
        second, fraction = "59", "9" * MICROSECOND_DIGITS
    digits = (fraction or "")[:MICROSECOND_DIGITS].ljust(MICROSECOND_DIGITS, "0")
    offset = "+00:00" if zulu else f"{hours}:{minutes}"
    try:
        return datetime.fromisoformat(f"{date}T{minute}{second}.{digits}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise NotATime(None) from None


def _explain(text: str) -> NotATime:
    if _SECONDS.fullmatch(text):
        since = timedelta(seconds=int(text[:10]), milliseconds=int(text[10:] or 0))
        timespec = "milliseconds" if len(text) > 10 else "seconds"
        return NotATime((datetime(1970, 1, 1) + since).isoformat(timespec=timespec) + "Z")
    found = _ALMOST.fullmatch(text.strip())
    if found is None:
        return NotATime(None)
    year, month, day, hour, minute, second, fraction, zulu, sign, hours, minutes = found.groups()
    offset = f"{sign}{hours.zfill(2)}:{minutes or '00'}" if sign else "Z"
    nearest = (
        f"{year}-{month.zfill(2)}-{day.zfill(2)}T{(hour or '0').zfill(2)}:{minute or '00'}:{second or '00'}"
        f"{'.' + fraction if fraction else ''}{offset}"
    )
    try:
        parse_time(nearest)
    except NotATime:
        return NotATime(None)
    return NotATime(nearest, lacks_offset=not zulu and not sign)
