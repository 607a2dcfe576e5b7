import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from devtools.replay.comparison import WrongCount, find_wrong_counts, read_hours, read_totals, to_time
from devtools.replay.errors import DeadlinePassed, ServiceRefused
from devtools.replay.service import ReplayTarget
from devtools.replay.truth import Counts, TruthSubject
from tests.unit.devtools.replay.scripted_server import run_scripted_server

UNTIL = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOURS = range(492_300, 492_303)
SUBJECT = TruthSubject(videos=("a", "b"), close_videos=("b",), hours=HOURS)
WHOLE = {
    "complete_until": UNTIL.isoformat(),
    "as_of": UNTIL.isoformat(),
    "stale": False,
    "partial": False,
    "missing": [],
}
PERIOD = {"start_time": None, "end_time": None}
COUNTS = [{"video_id": "a", "counts": {"view": 5, "share": 9}}, {"video_id": "b", "counts": {"view": 7, "comment": 2}}]


def ask(script, read, *, seconds=10.0):
    with run_scripted_server(script) as url:
        service = ReplayTarget(url, "key", request_seconds=5, deadline=time.monotonic() + seconds, connections=2)
        try:
            return read(service, SUBJECT, until=UNTIL, threads=2)
        finally:
            service.close()


def build_counts(totals, hours):
    return Counts(totals=np.array(totals), hours=np.array(hours))


def test_an_incomplete_or_partial_answer_is_asked_for_again():
    late = WHOLE | {"complete_until": (UNTIL - timedelta(microseconds=1)).isoformat()}
    metas = [late, WHOLE | {"partial": True, "missing": ["shard1"]}, WHOLE]
    wrong = [{"video_id": "a", "counts": {}}, {"video_id": "b", "counts": {}}]

    def script(path, body):
        assert (path, body) == ("/v1/counts/query", {"video_ids": ["a", "b"]})
        meta = metas.pop(0)
        return 200, {}, {"videos": COUNTS if meta is WHOLE else wrong, "meta": meta}

    assert ask(script, read_totals).tolist() == [[5, 0, 0, 0], [7, 0, 0, 2]]
    assert metas == []


def test_waiting_for_completeness_ends_at_the_deadline():
    late = WHOLE | {"complete_until": "2026-03-01T11:59:59Z"}
    with pytest.raises(DeadlinePassed, match="complete until 2026-03-01 11:59:59"):
        ask(lambda *_: (200, {}, {"videos": COUNTS, "meta": late}), read_totals, seconds=0.3)


def test_an_answer_without_a_video_asked_for_is_refused():
    with pytest.raises(ServiceRefused, match="b among them"):
        ask(lambda *_: (200, {}, {"videos": COUNTS[:1], "meta": WHOLE}), read_totals)


def test_hours_left_out_are_zero():
    def script(path, body):
        assert path.startswith("/v1/videos/b/stats?event_type=")
        assert f"start_time={to_time(HOURS.start):%Y-%m-%dT%H}" in path
        series = [{"start": to_time(HOURS[1]).isoformat(), "value": 4}] if "=view&" in path else []
        return 200, {}, PERIOD | {"series": series, "value": 4, "meta": WHOLE}

    assert ask(script, read_hours).tolist() == [[[0, 4, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]]


def test_an_hour_not_asked_for_is_refused():
    series = [{"start": to_time(HOURS.stop).isoformat(), "value": 1}]
    with pytest.raises(ServiceRefused, match="requested hours"):
        ask(lambda *_: (200, {}, PERIOD | {"series": series, "value": 1, "meta": WHOLE}), read_hours)


def test_equal_counts_have_no_differences():
    counts = build_counts([[1, 0, 0, 0], [2, 0, 0, 0]], [[[1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]])
    assert find_wrong_counts(SUBJECT, expected=counts, actual=counts) == []


def test_every_difference_is_named():
    expected = build_counts([[1, 0, 0, 0], [2, 0, 0, 0]], [[[1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]])
    actual = build_counts([[1, 0, 0, 0], [2, 3, 0, 0]], [[[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]])
    assert find_wrong_counts(SUBJECT, expected=expected, actual=actual) == [
        WrongCount("b", "like", None, expected=0, actual=3),
        WrongCount("b", "view", to_time(HOURS[1]), expected=1, actual=0),
    ]
