"""Charts: to scale, and text of others cannot become markup."""

from xml.etree import ElementTree

import pytest

from viewcounter.pages.charts import Bar, draw_bars, draw_sparkline, find_round_top, format_number


def read(svg):
    return ElementTree.fromstring(svg)  # noqa: S314 - our own


def test_bars_are_as_high_as_their_values():
    chart = read(draw_bars([Bar("a", "a: 50", 50), Bar("b", "b: 100", 100), Bar("c", "c: 0", 0)], title="views"))
    heights = [float(bar.get("height")) for bar in chart.findall("rect")]
    assert heights == [pytest.approx(heights[1] / 2, abs=0.1), heights[1], 0]
    assert [bar.find("title").text for bar in chart.findall("rect")] == ["a: 50", "b: 100", "c: 0"]
    assert [text.text for text in chart.findall("text") if "end" in text.get("class")] == ["0", "50", "100"]


def test_the_period_before_is_a_line_with_a_point_for_each_bar():
    chart = read(draw_bars([Bar("a", "a", 1)] * 4, before=[1, 2, 3, 4], title="views"))
    assert len(chart.find("polyline").get("points").split()) == 4


def test_a_title_cannot_become_markup():
    for svg in (draw_bars([Bar("<b>", "</svg>", 1)], title='"><script>'), draw_sparkline([1], title='"><script>')):
        chart = read(svg)
        assert chart.get("aria-label") == '"><script>'
        assert chart.find("script") is None


def test_nothing_is_drawn_of_nothing():
    assert read(draw_bars([], title="views")).findall("rect") == []
    assert read(draw_sparkline([], title="views")).find("polyline").get("points") == ""


@pytest.mark.parametrize(("highest", "top"), [(0, 2), (2, 2), (3, 5), (21, 25), (100, 100), (101, 200), (7e9, 1e10)])
def test_the_axis_ends_at_a_round_number(highest, top):
    assert find_round_top(highest) == top


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (1234567, "1,234,567"), (2.25, "2.2"), (3.0, "3")])
def test_numbers(value, text):
    assert format_number(value) == text
