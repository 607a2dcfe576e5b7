import re

import pytest

from viewcounter.operations.bench.plots import build_axis, draw_plot, format_tick, list_linear_ticks, list_log_ticks
from viewcounter.operations.bench.report import Plot, Series


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, (0, 2, 4, 6, 8, 10)),
        (0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1)),
        (0, 53_000, (0, 20_000, 40_000, 60_000)),
        (-3, 4, (-4, -2, 0, 2, 4)),
        (0, 0, (0, 0.2)),
    ],
)
def test_linear_ticks_are_round_and_reach_past_both_ends(low, high, ticks):
    assert list_linear_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1, 1000, (1, 10, 100, 1000)),
        (3, 40, (2, 5, 10, 20, 50)),
        (5, 5, (5, 10)),
        (1, 1, (1, 2)),
        (0.002, 0.9, (0.001, 0.01, 0.1, 1)),
    ],
)
def test_logarithmic_ticks_are_powers_of_ten_and_finer_over_short_ranges(low, high, ticks):
    assert list_log_ticks(low, high) == pytest.approx(ticks)


def test_an_axis_puts_a_decade_everywhere_at_the_same_length():
    axis = build_axis([1, 1000], log=True, start=0, end=300)
    assert [axis.place(v) for v in (1, 10, 100, 1000)] == [0, 100, 200, 300]


def test_a_linear_axis_begins_at_zero():
    axis = build_axis([50, 100], log=False, start=100, end=0)
    assert axis.place(0) == 100
    assert axis.place(100) == 0


def test_few_values_get_their_own_ticks_where_asked():
    assert build_axis([1, 16, 64, 256], log=True, start=0, end=1, own_ticks=True).ticks == (1, 16, 64, 256)


def test_one_value_alone_can_be_placed():
    assert build_axis([64], log=True, start=0, end=100, own_ticks=True).place(64) >= 0


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.5, "0.5"), (250, "250"), (20_000, "20k"), (1_500_000, "1.5M"), (2e9, "2G")]
)
def test_ticks_are_short(value, text):
    assert format_tick(value) == text


def test_each_point_is_drawn_and_tells_its_values():
    drawn = draw_plot(Plot("rate", "x", "y", (Series("a", ((1, 10), (2, 20_000))), Series("b", ((1, 5),)))))
    assert drawn.count("<circle") == 3
    assert drawn.count("<polyline") == 2
    assert "<title>a: 2, 20,000</title>" in drawn


def test_points_that_a_logarithmic_axis_cannot_hold_are_left_out():
    drawn = draw_plot(Plot("t", "x", "y", (Series("a", ((0, 1), (1, 0), (1, 1), (10, 100))),), x_log=True, y_log=True))
    assert drawn.count("<circle") == 2


def test_a_plot_without_points_says_so():
    assert "nothing to draw" in draw_plot(Plot("t", "x", "y", (Series("a", ()),)))


def test_texts_are_escaped():
    drawn = draw_plot(Plot("<t>", "<x>", "<y>", (Series("<s>", ((1, 1), (2, 2))),)))
    assert not re.search(r"<[txys]>", drawn)
    assert drawn.count("&lt;s&gt;") == 3  # legend and two points
