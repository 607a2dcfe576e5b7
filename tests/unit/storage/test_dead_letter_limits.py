"""Limits on dead letters, from the numbers of a flush and the counters of its partition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewcounter.storage.dead_letter_limits import (
    StopReason,
    Tally,
    Window,
    build_window_change,
    check_dead_letters,
    count_range,
    get_most_dead,
)
from viewcounter.storage.errors import TooManyDeadLetters
from viewcounter.storage.settings import DeadLetterLimits

LIMITS = DeadLetterLimits(run_max=5, ratio_max=0.1, ratio_min_events=100, window_seconds=60)
EMPTY = Window(read=0, dead=0, run=0, allowance=0)


def tally(text, unreadable=0):
    """`x` for a dead letter, `.` for an event that was handled."""
    return count_range(np.array([letter == "x" for letter in text], dtype=bool), unreadable_count=unreadable)


@pytest.mark.parametrize(
    ("text", "unreadable", "expected"),
    [
        ("...", 0, Tally(3, 0, 0, 0, 0)),
        ("xx.xxx.x", 0, Tally(8, 6, 2, 3, 1)),
        (".xxx", 0, Tally(4, 3, 0, 3, 3)),
        ("xxx", 0, Tally(3, 3, 3, 3, 3)),
        ("", 4, Tally(4, 4, 4, 4, 4)),
        ("x.x", 2, Tally(5, 4, 1, 1, 1)),
    ],
)
def test_runs_are_counted_in_the_order_of_the_log(text, unreadable, expected):
    assert tally(text, unreadable) == expected


@given(st.text(alphabet="x.", max_size=60))
def test_the_longest_run_is_that_of_the_text(text):
    runs = [len(run) for run in text.split(".")]
    assert (tally(text).leading, tally(text).longest, tally(text).trailing) == (runs[0], max(runs), runs[-1])


@pytest.mark.parametrize(
    ("window", "text", "reason"),
    [
        (EMPTY, "." * 10 + "x" * 5, None),
        (EMPTY, "." * 10 + "x" * 6, StopReason.RUN),
        (Window(3, 3, 3, 0), "xx.", None),
        (Window(3, 3, 3, 0), "xxx.", StopReason.RUN),
        (Window(3, 3, 3, 0), ".xxx", None),
        (EMPTY, ".x" * 49, None),
        (EMPTY, ".x" * 50, StopReason.RATIO),
        (Window(1000, 99, 0, 0), ".x", None),
        (Window(1000, 100, 0, 0), ".x", StopReason.RATIO),
        (Window(1000, 100, 4, 20), "x" * 20, None),
        (Window(1000, 100, 4, 19), "x" * 20, StopReason.RUN),
    ],
)
def test_a_flush_passes_only_within_run_and_ratio_or_its_allowance(window, text, reason):
    if reason is None:
        check_dead_letters(window, tally(text), LIMITS)
        return
    with pytest.raises(TooManyDeadLetters) as caught:
        check_dead_letters(window, tally(text), LIMITS)
    assert caught.value.reason is reason


def test_a_run_of_dead_letters_goes_on_over_flushes_that_hold_nothing_else():
    def change(text, *, allowed=False):
        built = build_window_change(tally(text), allowed=allowed)
        return built.dead, built.run, built.run_goes_on, built.allowed

    assert change("xx") == (2, 2, True, 0)
    assert change("x.x") == (2, 1, False, 0)
    assert change("..") == (0, 0, False, 0)
    assert change("xx", allowed=True) == (0, 0, False, 2)


def test_the_search_for_bad_events_ends_where_the_ratio_would_be_passed_anyway():
    assert get_most_dead(EMPTY, read=40, limits=LIMITS) == 40
    assert get_most_dead(EMPTY, read=40_000, limits=LIMITS) == 4000
    assert get_most_dead(Window(100, 50, 0, 0), read=100, limits=LIMITS) == 0
    assert get_most_dead(Window(100, 50, 0, 70), read=100, limits=LIMITS) == 70
