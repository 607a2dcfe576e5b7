"""When the log server's memory will be full, from readings of it."""

import pytest

from viewcounter.eventlog.interface import Usage
from viewcounter.eventlog.usage_trend import LogMemory, UsageTrend


def read(*samples: tuple[float, int], max_bytes: int | None = 1000) -> LogMemory | None:
    trend = UsageTrend()
    found = [trend.add(Usage({}, used_bytes=used, max_bytes=max_bytes), at=at) for at, used in samples]
    return found[-1]


@pytest.mark.parametrize(
    ("samples", "full_seconds"),
    [
        ([(0, 100)], None),
        ([(0, 100), (1, 900)], None),  # too short to be a trend
        ([(0, 100), (10, 200)], 80.0),
        ([(0, 100), (10, 200), (20, 100)], None),
        ([(0, 900), (10, 100)], None),
        ([(0, 900), (200, 100), (210, 200)], 80.0),  # what is older than the window does not count
        ([(0, 900), (10, 1100)], 0.0),
    ],
)
def test_time_until_full_follows_the_growth_within_the_window(
    samples: list[tuple[float, int]], full_seconds: float | None
) -> None:
    assert read(*samples) == LogMemory(samples[-1][1], 1000, full_seconds)


def test_a_server_without_a_memory_limit_is_never_full() -> None:
    assert read((0, 100), (10, 200), max_bytes=None) is None


def test_readings_in_quick_succession_keep_the_whole_window() -> None:
    assert read(*[(number / 10, number) for number in range(101)]) == LogMemory(100, 1000, 90.0)
