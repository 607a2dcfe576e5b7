import json

import msgspec
from viewcounter_client.queries import TopItem

from devtools.replay.comparison import WrongCount
from devtools.replay.report import Report, encode_report

EXACT = Report(
    nonce="1-00000001",
    url="http://127.0.0.1:8000",
    videos=2,
    channels=1,
    days=40,
    sent=1000,
    duplicates_sent=10,
    accepted=1010,
    duplicates_dropped=10,
    refused={"unknown_event_type": 3},
    refused_count=3,
    expected_refused_count=3,
    retries=0,
    compared_counts=8,
    wrong_count=0,
    wrong_counts=(),
    wrongly_refused=(),
    wrongly_accepted=(),
    sending_seconds=2.0,
    queryable_seconds=4.0,
    total_seconds=5.0,
    events_per_second_accepted=505.0,
    events_per_second_queryable=252.5,
    top=(TopItem(video_id="v1", value=12, title="[bold]A [title]"),),
)
WRONG = WrongCount("v1", "like", None, expected=2, actual=1)


def test_a_run_is_exact_only_without_any_fault():
    assert EXACT.is_exact
    for fault in (
        {"wrong_count": 1, "wrong_counts": (WRONG,)},
        {"wrongly_refused": ("event: too_old",)},
        {"wrongly_accepted": ("null: None",)},
    ):
        assert not msgspec.structs.replace(EXACT, **fault).is_exact


def test_json_says_whether_the_run_is_exact():
    report = msgspec.structs.replace(EXACT, wrong_count=1, wrong_counts=(WRONG,))
    document = json.loads(encode_report(report))
    assert document["exact"] is False
    assert document["wrong_counts"] == [
        {"video_id": "v1", "event_type": "like", "hour": None, "expected": 2, "actual": 1}
    ]
    assert json.loads(encode_report(EXACT))["exact"] is True
