"""How far the log may be trimmed, whatever the clocks say."""

from datetime import UTC, datetime

from viewcounter.eventlog.interface import START, Position
from viewcounter.processing.trimming import AppliedEarlier, get_trim_point

NOW = datetime(2026, 11, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
TEN_DAYS_MS = 10 * 86_400_000


def test_the_log_is_trimmed_below_the_slowest_copy_and_never_within_the_safety_time():
    slow, fast = Position(NOW_MS - 500_000, 3), Position(NOW_MS - 1000, 0)
    assert get_trim_point([fast, slow], now=NOW, safety_seconds=120) == slow
    assert get_trim_point([fast], now=NOW, safety_seconds=120) == Position(NOW_MS - 120_000, 0)


def test_positions_of_a_clock_that_was_set_back_are_trimmed_after_the_safety_time():
    seconds = 0.0
    earlier = AppliedEarlier(safety_seconds=120, clock=lambda: seconds)
    ahead = [Position(NOW_MS + TEN_DAYS_MS, number) for number in range(5)]
    trimmed = []
    for number, position in enumerate(ahead):
        seconds = 60.0 * number
        earlier.record(3, position)
        point = get_trim_point([position], now=NOW, safety_seconds=120, applied_earlier=earlier.find(3))
        trimmed.append(point if point >= ahead[0] else None)
    assert trimmed == [None, None, ahead[0], ahead[0], ahead[2]]
    assert earlier.find(4) == START


def test_no_copy_is_passed_by_what_was_applied_earlier():
    behind = Position(NOW_MS + TEN_DAYS_MS, 0)
    earlier = Position(NOW_MS + TEN_DAYS_MS, 7)
    assert get_trim_point([behind], now=NOW, safety_seconds=120, applied_earlier=earlier) == behind
