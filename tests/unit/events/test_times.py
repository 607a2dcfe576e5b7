"""One parser of times for events and queries: RFC 3339 in all spellings, cut to microseconds, never rounded."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewcounter.events.times import NotATime, parse_time

DAY = "2026-11-29T"
LAST_MICROSECOND = datetime(2026, 11, 29, 23, 59, 59, 999_999, tzinfo=UTC)
AFTERNOON = datetime(2026, 11, 29, 15, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-29T23:59:59.9999999Z", LAST_MICROSECOND),
        ("2026-11-29T23:59:59.999999999Z", LAST_MICROSECOND),
        (f"2026-11-29T23:59:59.{'9' * 500}Z", LAST_MICROSECOND),
        ("2026-11-29T23:59:60Z", LAST_MICROSECOND),
        ("2026-11-29T23:59:60.25Z", LAST_MICROSECOND),
        ("2026-11-30T01:59:60+02:00", LAST_MICROSECOND),
        ("2026-11-29T15:10:00Z", AFTERNOON),
        ("2026-11-29t15:10:00z", AFTERNOON),
        ("2026-11-29 15:10:00Z", AFTERNOON),
        ("2026-11-29T15:10:00-00:00", AFTERNOON),
        ("2026-11-29T20:40:00+05:30", AFTERNOON),
        ("2026-11-29T20:40:00+0530", AFTERNOON),
        ("2026-11-29T15:10:00.1Z", AFTERNOON + timedelta(microseconds=100_000)),
        ("2026-11-29T15:10:00.0000019Z", AFTERNOON + timedelta(microseconds=1)),
    ],
)
def test_time_is_read_and_cut_to_microseconds(text: str, instant: datetime) -> None:
    assert parse_time(text) == instant
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("2026-11-29T15:10:00+00", "2026-11-29T15:10:00+00:00"),
        ("2026-11-29T15:10Z", "2026-11-29T15:10:00Z"),
        ("2026-11-29T15:10:00,5Z", "2026-11-29T15:10:00.5Z"),
        ("2026-11-29 15:10:00 UTC", "2026-11-29T15:10:00Z"),
        ("2026-11-29 15:10:00 +0200", "2026-11-29T15:10:00+02:00"),
        ("2026/11/29 15:10:00 GMT", "2026-11-29T15:10:00Z"),
        ("2026-11-9T5:10:00Z", "2026-11-09T05:10:00Z"),
        (" 2026-11-29T15:10:00Z ", "2026-11-29T15:10:00Z"),
        ("1764429000", "2025-11-29T15:10:00Z"),
        ("1764429000250", "2025-11-29T15:10:00.250Z"),
    ],
)
def test_any_other_time_is_refused_with_the_nearest_right_form(text: str, nearest: str) -> None:
    with pytest.raises(NotATime) as caught:
        parse_time(text)
    assert (caught.value.nearest, caught.value.lacks_offset) == (nearest, False)
    parse_time(nearest)


@pytest.mark.parametrize("text", ["2026-11-29T15:10:00", "2026-11-29 15:10", "2026-11-29"])
def test_missing_offset_is_told_apart(text: str) -> None:
    with pytest.raises(NotATime) as caught:
        parse_time(text)
    assert caught.value.lacks_offset


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2026-02-30T00:00:00Z", "2026-11-29T24:00:00Z", "2026-11-29T23:59:61Z", "\ud800"),
        *("2026-11-29T23:60:00Z", "2026-11-29T00:00:00+24:00", "0001-01-01T00:00:00+01:00", "9" * 5000, "9" * 10 + "Z"),
        *("2026-11-29T15:10:00.Z", "٢٠٢٦-11-29T15:10:00Z", "2026-11-29T15:10:00Z\n\n2026", "9999-12-31T23:59:59-01:00"),
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(NotATime):
        parse_time(text)


offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=offsets))
def test_event_decoder_and_this_parser_agree_up_to_microseconds(instant: datetime) -> None:
    text = instant.isoformat()
    assert parse_time(text) == msgspec.convert(text, datetime) == instant


@given(text=st.text(alphabet="0123456789-:+.TZ tz,/", max_size=40))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        parse_time(text)
    except NotATime as error:
        if error.nearest is not None:
            parse_time(error.nearest)
