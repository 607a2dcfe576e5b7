import json
from datetime import UTC, datetime
from itertools import islice

import pytest

from viewcounter.operations.bench.questions import Request, ask, list_questions

NOW = datetime(2026, 11, 26, 15, 7, tzinfo=UTC)
FRESH_SECONDS = 1.0
"""An answer that may change is kept so long."""


@pytest.mark.parametrize("question", list_questions(NOW), ids=lambda question: question.name)
def test_fresh_questions_are_no_others_and_none_comes_again_while_its_answer_is_kept(question):
    assert len({*question.fresh}) == len(question.fresh) > question.per_second * FRESH_SECONDS
    if question.is_endless:
        assert not {*question.fresh} & {*question.kept}
        assert len(question.fresh) == 19_800


def test_batches_are_of_500_videos_that_no_other_batch_asks_for():
    question = next(each for each in list_questions(NOW) if each.name == "batch")
    asked = [json.loads(request.body or "")["video_ids"] for request in (*question.kept, *question.fresh)]
    assert {len(videos) for videos in asked} == {500}
    assert len({video for videos in asked for video in videos}) == 500 * len(asked) == 20_000


def test_periods_end_now_and_begin_at_edges_that_are_still_kept():
    periods = {
        question.name: question.fresh[0].path.partition("?")[2].replace("%3A", ":")
        for question in list_questions(NOW)
        if question.name in ("hour", "day", "month", "year", "top_month")
    }
    begin = "event_type=view&function=count&start_time="
    end = "&end_time=2026-11-26T15:07:00Z&interval="
    assert periods == {
        "hour": f"{begin}2026-11-26T14:07:00Z{end}minute",
        "day": f"{begin}2026-11-25T15:00:00Z{end}hour",
        "month": f"{begin}2026-10-27T00:00:00Z{end}day",
        "year": f"{begin}2025-11-26T00:00:00Z{end}day",
        "top_month": "event_type=view&limit=50&start_time=2026-10-27T00:00:00Z&end_time=2026-11-26T15:07:00Z",
    }


def test_requests_are_asked_in_turn_without_end():
    asked = [*islice(ask([Request("/a"), Request("/b", '{"x": 1}')], host="h:1", token="t"), 3)]
    assert asked == [
        b"GET /a HTTP/1.1\r\nHost: h:1\r\nAuthorization: Bearer t\r\nAccept: */*\r\n\r\n",
        b"POST /b HTTP/1.1\r\nHost: h:1\r\nAuthorization: Bearer t\r\nAccept: */*\r\n"
        b'Content-Type: application/json\r\nContent-Length: 8\r\n\r\n{"x": 1}',
        b"GET /a HTTP/1.1\r\nHost: h:1\r\nAuthorization: Bearer t\r\nAccept: */*\r\n\r\n",
    ]
