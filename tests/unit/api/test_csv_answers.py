"""Tables of statistics: exact text, and no cell that a spreadsheet would run."""

import csv
import io
from datetime import UTC, datetime

import pytest

from viewcounter.api.csv_answers import StatsCsvRenderer

START = datetime(2026, 1, 31, tzinfo=UTC)
END = datetime(2026, 2, 1, tzinfo=UTC)
BODY = {
    "video_id": "cats",
    "event_type": "view",
    "function": "count",
    "start_time": START,
    "end_time": END,
    "value": 12,
}
SERIES = [{"start": START, "value": 5}, {"start": END, "value": None}]


def render(body):
    return StatsCsvRenderer().render(body).decode()


def test_a_period_is_one_row():
    assert render(BODY) == (
        "video_id,event_type,function,start_time,end_time,value\r\n"
        "cats,view,count,2026-01-31T00:00:00Z,2026-02-01T00:00:00Z,12\r\n"
    )


def test_an_open_period_and_no_value_are_empty_cells():
    assert (
        render(BODY | {"start_time": None, "value": None}).splitlines()[1] == "cats,view,count,,2026-02-01T00:00:00Z,"
    )


def test_a_series_is_a_row_a_bucket():
    body = {**BODY, "channel_id": "pets", "series": SERIES}
    assert render(body) == (
        "channel_id,event_type,function,start,value\r\n"
        "pets,view,count,2026-01-31T00:00:00Z,5\r\n"
        "pets,view,count,2026-02-01T00:00:00Z,\r\n"
    )


def test_comparisons_stand_in_columns_of_a_period_and_in_rows_of_a_series():
    compared = BODY | {"previous": {"value": 10}, "delta": 2, "ratio": 1.2}
    assert render(compared).splitlines()[0].endswith(",value,previous_value,delta,ratio")
    assert render(compared).splitlines()[1].endswith(",12,10,2,1.2")
    lines = render(compared | {"series": SERIES[:1], "previous": {"value": 10, "series": SERIES[1:]}}).splitlines()
    assert lines == [
        "video_id,event_type,function,period,start,value",
        "cats,view,count,current,2026-01-31T00:00:00Z,5",
        "cats,view,count,previous,2026-02-01T00:00:00Z,",
    ]


@pytest.mark.parametrize("video_id", ["=1+1", "+1", "-5Qj2x", "@SUM(A1)", "\tx", "\r=1"])
def test_text_that_begins_like_a_formula_gets_an_apostrophe(video_id):
    [_, row] = csv.reader(io.StringIO(render(BODY | {"video_id": video_id}), newline=""))
    assert row[0] == f"'{video_id}"


@pytest.mark.parametrize("video_id", ['a"b', "a,b", "'", "ünï", "a\nb"])
def test_other_text_comes_back_as_it_was_and_numbers_keep_their_sign(video_id):
    [_, row] = csv.reader(io.StringIO(render(BODY | {"video_id": video_id, "value": -3}), newline=""))
    assert (row[0], row[-1]) == (video_id, "-3")
