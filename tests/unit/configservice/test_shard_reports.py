"""The report on a shard, from its recorded condition."""

from datetime import UTC, datetime, timedelta

from configservice.failover.records import Condition, Failover, ShardCondition
from configservice.failover.requests import LEADER_SILENCE_SECONDS
from configservice.failover.shard_reports import ShardReport, build_report, has_config_service

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SINCE = NOW - timedelta(hours=1)


def say(condition, *, seconds_ago, detail=""):
    return ShardCondition(condition=condition, detail=detail, since=SINCE, seen_at=NOW - timedelta(seconds=seconds_ago))


def test_a_condition_is_told_with_the_time_since_when_it_is_so():
    row = say("without replica", seconds_ago=LEADER_SILENCE_SECONDS, detail="no promotable replica streams")
    report = build_report("shard1", row, None, now=NOW)
    assert (report.condition, report.since) == (Condition.WITHOUT_REPLICA, SINCE)
    assert report.detail == "no promotable replica streams"
    assert has_config_service([report])


def test_what_was_said_too_long_ago_is_not_told_as_if_it_were_so_still():
    report = build_report("shard1", say("well", seconds_ago=LEADER_SILENCE_SECONDS + 1, detail="x"), None, now=NOW)
    assert report == ShardReport("shard1", condition=None)
    assert build_report("shard1", None, None, now=NOW) == report
    assert not has_config_service([build_report("shard1", say("well", seconds_ago=0), None, now=NOW), report])


def test_what_is_being_done_to_a_shard_is_told_even_if_nobody_leads():
    failover = Failover(kind="switchover", state="chosen", old_primary="a", candidate="b", requested_at=SINCE)
    report = build_report("shard1", None, failover, moving_out=2, moving_in=1, now=NOW)
    assert (report.failover.kind, report.failover.state) == ("switchover", "chosen")
    assert (report.failover.old_primary, report.failover.candidate) == ("a", "b")
    assert (report.moving_out, report.moving_in) == (2, 1)
