"""The report of `bin/status` from a gateway's answers."""

from devtools.status.cluster_report import build_lag, describe_missing

PARTITION = {"partition": 3, "watermark": "2026-06-15T10:20:30Z", "events_behind": 0, "seconds_behind": 0.0}


def test_lag_is_summed_over_partitions_and_times_are_read():
    behind = PARTITION | {"partition": 4, "events_behind": 7, "seconds_behind": 1.5}
    lag = build_lag([PARTITION, behind], missing=[5])
    assert (lag["events_behind"], lag["seconds_behind"], lag["unread_partitions"]) == (7, 1.5, 1)
    assert lag["missing_partitions"] == [5]
    assert str(lag["partitions"][0]["watermark"]) == "2026-06-15 10:20:30+00:00"


def test_partitions_without_an_answer_are_named():
    assert describe_missing([]) is None
    assert describe_missing([1, 30]) == "no answer from the shards of partitions 1, 30"
