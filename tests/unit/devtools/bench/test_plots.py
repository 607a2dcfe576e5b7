import re

from devtools.bench.plots import build_axis, draw_plot
from devtools.bench.report import Plot, Series


def test_an_axis_puts_a_decade_everywhere_at_the_same_length():
    axis = build_axis([1, 1000], log=True, start=0, end=300)
    assert [axis.place(v) for v in (1, 10, 100, 1000)] == [0, 100, 200, 300]


def test_a_linear_axis_begins_at_zero():
    axis = build_axis([50, 100], log=False, start=100, end=0)
    assert axis.place(0) == 100
    assert axis.place(100) == 0


def test_points_that_a_logarithmic_axis_cannot_hold_are_left_out():
    drawn = draw_plot(Plot("t", "x", "y", (Series("a", ((0, 1), (1, 0), (1, 1), (10, 100))),), x_log=True, y_log=True))
    assert drawn.count("<circle") == 2


def test_texts_are_escaped():
    drawn = draw_plot(Plot("<t>", "<x>", "<y>", (Series("<s>", ((1, 1), (2, 2))),)))
    assert not re.search(r"<[txys]>", drawn)
    assert drawn.count("&lt;s&gt;") == 3  # legend and two points
