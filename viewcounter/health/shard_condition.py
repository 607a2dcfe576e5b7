"""The condition of a shard in words, the same for `/readyz`, `/v1/cluster` and `manage.py status`.

The report of the config service (`ShardReport`) and the probe of the instances (`ShardHealth`) stay apart: the report
knows which replica could be promoted and which failovers and moves run, the probe which instances answer and which
commits wait.
"""

from collections.abc import Mapping
from typing import Any

from configservice.failover.records import Condition
from configservice.failover.shard_reports import ShardReport, read_reports
from viewcounter.eventlog.usage_trend import MIB, LogMemory, describe_duration, describe_usage
from viewcounter.health.cluster_health import Status
from viewcounter.health.control_query import ControlQuery

# Public texts: they state the problem and its consequence and never name hosts.
_WORDS: dict[Condition, tuple[Status, str]] = {
    Condition.WELL: (Status.UP, ""),
    Condition.WITHOUT_REPLICA: (
        Status.DEGRADED,
        "no promotable replica: a failure of the primary could not be failed over",
    ),
    Condition.SUSPECT: (Status.DEGRADED, "its primary does not answer the config service"),
    Condition.CHANGING: (Status.DEGRADED, "failing over: its events wait in the log"),
    Condition.WITHOUT_PRIMARY: (Status.DOWN, "no primary and no replica to promote: its events wait in the log"),
}
LOG_HALF_FULL = 0.5
LOG_SOON_FULL_SECONDS = 3600.0
UNKNOWN = "unknown"
NO_CONFIG_SERVICE = "no config service reports on the shards: a dead primary would not be replaced"

REPORTS = ControlQuery("shard-reports", read_reports)
find_reports = REPORTS.find
"""Reports by shard name; None if the control database does not answer in time."""


def describe_condition(report: ShardReport) -> tuple[Status, str]:
    """Names neither hosts nor instances. A move of a partition is no fault: the status stays `up`."""
    if report.condition is None:
        status, words = Status.DEGRADED, NO_CONFIG_SERVICE
    else:
        is_changing = report.failover is not None and report.condition is not Condition.WITHOUT_PRIMARY
        status, words = _WORDS[Condition.CHANGING if is_changing else report.condition]
    moving = _describe_moves(report)
    return status, "; ".join(text for text in (words, moving) if text)


def describe_log(report: ShardReport, labels: Mapping[str, str]) -> str:
    """The absent replicas that the event log is kept for, its size, and when that ends; empty without any.

    `labels`: public names of the replicas.
    """
    if not report.log_kept_for:
        return ""
    names = ", ".join(labels.get(name, name) for name in report.log_kept_for)
    text = f"kept for {names}, which {'is' if len(report.log_kept_for) == 1 else 'are'} absent"
    share = report.log_share
    if share is None:
        return f"{text}; the size kept is unknown: the log has no memory limit, or has not been read yet"
    text += f": {share.kept_bytes / MIB:.1f} of {share.share_bytes / MIB:.1f} MiB"
    if share.full_seconds is not None:
        text += f", full in about {describe_duration(share.full_seconds)}"
    return f"{text}; then it is no longer kept, and they cannot be promoted until they have caught up"


def describe_log_memory(memory: LogMemory, *, full_share: float) -> str:
    """Empty unless the log refuses events, above `full_share` of its memory, or is more than half full and will refuse
    them within an hour."""
    text = f"{memory.used_bytes / MIB:.1f} of {memory.max_bytes / MIB:.1f} MiB of the log server's memory are in use"
    if memory.used_share > full_share:
        return f"{text}: events are refused above {full_share:.0%}"
    full_seconds = memory.full_seconds
    if memory.used_share < LOG_HALF_FULL or full_seconds is None or full_seconds > LOG_SOON_FULL_SECONDS:
        return ""
    return f"{describe_usage(memory)}: events are refused above {full_share:.0%}"


def _describe_moves(report: ShardReport) -> str:
    parts = [
        f"{count} {'partition is' if count == 1 else 'partitions are'} moving {where}"
        for count, where in ((report.moving_out, "away"), (report.moving_in, "here"))
        if count
    ]
    return ", ".join(parts)


def encode_report(report: ShardReport | None) -> dict[str, Any]:
    """For JSON; instants are datetimes. `report` is None while the control database does not answer."""
    if report is None:
        return {
            "condition": UNKNOWN,
            "condition_detail": "",
            "condition_since": None,
            "failover": None,
            "moving": None,
            "kept_log": None,
        }
    failover, share = report.failover, report.log_share
    return {
        "condition": UNKNOWN if report.condition is None else report.condition.value,
        "condition_detail": report.detail,
        "condition_since": report.since,
        "failover": None
        if failover is None
        else {
            "kind": failover.kind,
            "state": failover.state,
            "old_primary": failover.old_primary,
            "candidate": failover.candidate or None,
            "requested_at": failover.requested_at,
        },
        "moving": {"out": report.moving_out, "into": report.moving_in},
        "kept_log": {
            "kept_for": list(report.log_kept_for),
            "kept_bytes": None if share is None else share.kept_bytes,
            "share_bytes": None if share is None else share.share_bytes,
            "full_seconds": None if share is None else share.full_seconds,
        },
    }
