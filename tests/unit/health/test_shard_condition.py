"""A shard's condition in words, for `/readyz` and `manage.py status`."""

from datetime import UTC, datetime

import pytest

from configservice.failover.durability import DurabilityState
from configservice.failover.kept_log import LogShare
from configservice.failover.records import Condition
from configservice.failover.shard_reports import OpenFailover, ShardReport
from tests.unit.clusterproxy.builders import build_shard, build_topology
from viewcounter.eventlog.usage_trend import LogMemory
from viewcounter.health.cluster_health import ShardHealth
from viewcounter.health.readiness import build_condition_parts, build_log_parts, build_memory_parts
from viewcounter.health.shard_condition import NO_CONFIG_SERVICE, describe_condition, describe_log, encode_report
from viewcounter.health.shard_status import classify_shard

OPEN = OpenFailover("automatic", "chosen", "shard1a", "shard1b", datetime(2026, 1, 1, tzinfo=UTC))
NO_REPLICA = "no promotable replica: a failure of the primary could not be failed over"
FAILING_OVER = "failing over: its events wait in the log"
NO_PRIMARY = "no primary and no replica to promote: its events wait in the log"


def report(condition, **fields):
    return ShardReport("shard1", condition, **fields)


@pytest.mark.parametrize(
    ("known", "status", "reason"),
    [
        (report(Condition.WELL), "up", ""),
        (report(Condition.WELL, moving_out=2), "up", "2 partitions are moving away"),
        (
            report(Condition.WELL, moving_out=1, moving_in=3),
            "up",
            "1 partition is moving away, 3 partitions are moving here",
        ),
        (report(Condition.WITHOUT_REPLICA), "degraded", NO_REPLICA),
        (report(Condition.WITHOUT_REPLICA, moving_in=1), "degraded", f"{NO_REPLICA}; 1 partition is moving here"),
        (report(Condition.SUSPECT), "degraded", "its primary does not answer the config service"),
        (report(Condition.SUSPECT, failover=OPEN), "degraded", FAILING_OVER),
        (report(Condition.CHANGING), "degraded", FAILING_OVER),
        (report(Condition.WITHOUT_PRIMARY), "down", NO_PRIMARY),
        (report(Condition.WITHOUT_PRIMARY, failover=OPEN), "down", NO_PRIMARY),
        (report(None), "degraded", NO_CONFIG_SERVICE),
    ],
)
def test_a_condition_says_what_it_means_for_events_and_names_no_instance(known, status, reason):
    assert describe_condition(known) == (status, reason)


def test_readiness_names_each_condition_or_once_that_nobody_looks():
    well, bad = report(Condition.WELL), report(Condition.WITHOUT_REPLICA)
    parts = build_condition_parts({"shard1": well, "shard2": bad})
    assert {name: (part.status, part.reason) for name, part in parts.items()} == {
        "config service": ("up", ""),
        "shard1 condition": ("up", ""),
        "shard2 condition": ("degraded", NO_REPLICA),
    }
    alone = build_condition_parts({"shard1": well, "shard2": report(None)})
    assert {name: (part.status, part.reason) for name, part in alone.items()} == {
        "config service": ("degraded", NO_CONFIG_SERVICE)
    }
    assert build_condition_parts(None) == {}


def build_health(durability, reason=""):
    shard = build_shard(1, replicas=0)
    return ShardHealth(shard, (0, 1), (), durability, reason, None)


@pytest.mark.parametrize(
    ("known", "health", "status", "reason"),
    [
        (report(Condition.WELL), build_health(DurabilityState.MET), "up", ""),
        (
            report(Condition.WELL),
            build_health(DurabilityState.DEGRADED, "1 of 2"),
            "degraded",
            "durability degraded: 1 of 2",
        ),
        (report(Condition.WELL), build_health(DurabilityState.BLOCKED, "0 of 1"), "down", "durability blocked: 0 of 1"),
        (
            report(Condition.WITHOUT_REPLICA),
            build_health(DurabilityState.BLOCKED, "0 of 1"),
            "down",
            f"{NO_REPLICA}; durability blocked: 0 of 1",
        ),
        (None, build_health(DurabilityState.MET), "degraded", "condition unknown"),
    ],
)
def test_status_is_the_worse_of_condition_and_durability_with_both_reasons(known, health, status, reason):
    classified = classify_shard(health, known)
    assert (classified.status, classified.reason) == (status, reason)


def test_a_shard_that_nobody_can_be_asked_about_is_unknown_rather_than_well():
    assert encode_report(None)["condition"] == encode_report(report(None))["condition"] == "unknown"
    assert (encode_report(None)["moving"], encode_report(report(None))["moving"]) == (None, {"out": 0, "into": 0})
    assert encode_report(report(Condition.SUSPECT, failover=OPEN))["failover"]["candidate"] == "shard1b"


MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (LogShare(3 * MIB, 64 * MIB, 7300.0), "3.0 of 64.0 MiB, full in about 2 h"),
        (LogShare(3 * MIB, 64 * MIB, 119.0), "3.0 of 64.0 MiB, full in about 119 s"),
        (LogShare(3 * MIB, 64 * MIB), "3.0 of 64.0 MiB"),
    ],
)
def test_the_text_names_the_replicas_that_the_log_is_kept_for_and_its_end(share, text):
    known = report(Condition.WELL, log_kept_for=("shard1b",), log_share=share)
    rest = "; then it is no longer kept, and they cannot be promoted until they have caught up"
    assert describe_log(known, {}) == f"kept for shard1b, which is absent: {text}{rest}"
    assert describe_log(report(Condition.WELL, log_share=share), {}) == ""


def test_the_readiness_page_names_parts_and_never_instances():
    known = report(Condition.WELL, log_kept_for=("shard1b",))
    parts = build_log_parts(build_topology(build_shard(1, replicas=1)), {"shard1": known})
    assert list(parts) == ["shard1 log"]
    assert parts["shard1 log"].reason.startswith("kept for shard1 replica, which is absent; the size kept is unknown")
    assert classify_shard(build_health(DurabilityState.MET), known).status == "degraded"


MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("memory", "reason"),
    [
        (None, None),
        (LogMemory(49 * MIB, 100 * MIB, 60.0), None),
        (LogMemory(90 * MIB, 100 * MIB, None), None),
        (LogMemory(60 * MIB, 100 * MIB, 7200.0), None),
        (
            LogMemory(60 * MIB, 100 * MIB, 600.0),
            "60.0 of 100.0 MiB of the log server's memory are in use, full in about 10 min: events are refused above"
            " 90%",
        ),
        (
            LogMemory(91 * MIB, 100 * MIB, None),
            "91.0 of 100.0 MiB of the log server's memory are in use: events are refused above 90%",
        ),
    ],
)
def test_a_log_that_is_full_soon_is_a_degraded_part_with_the_time(memory, reason):
    parts = build_memory_parts(memory, full_share=0.9)
    assert {name: (part.status, part.reason) for name, part in parts.items()} == (
        {} if reason is None else {"log memory": ("degraded", reason)}
    )
