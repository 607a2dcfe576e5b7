"""Records of audit findings: one row for each comparison, opened when it differs, resolved when it is equal again."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Sum

from runtime.metrics import AUDIT_DRIFT_EVENTS
from viewcounter.maintenance.audit import Comparison, Finding, HourAudit
from viewcounter.maintenance.models import AuditFinding
from viewcounter.storage.audit import Difference

LISTED_DIFFERENCES = 20


def record_hour(audit: HourAudit, *, now: datetime) -> None:
    _record(audit.findings, partition=audit.partition, hour=audit.hour, now=now)


def record_totals(findings: Sequence[Finding], *, partition: int, now: datetime) -> None:
    """Opens findings but resolves none: a correct sample proves nothing about the videos of an earlier finding, which
    only a pass over all videos resolves."""
    _upsert(findings, partition=partition, hour=None, now=now)


def resolve_totals(partition: int, *, now: datetime) -> None:
    """Called after a pass in which all totals of the partition were correct."""
    _resolve(partition=partition, hour=None, keep=(), now=now)


def find_open_hours(partition: int, *, since: datetime) -> list[datetime]:
    """Hours with an open finding, which every run audits again."""
    found = AuditFinding.objects.filter(partition=partition, hour__gte=since, resolved_at=None)
    return list(found.order_by("hour").values_list("hour", flat=True).distinct())


def has_open_totals(partition: int) -> bool:
    return bool(AuditFinding.objects.filter(partition=partition, hour=None, resolved_at=None).exists())


def publish_drift() -> None:
    """Set the gauge of each comparison to the sum over its open findings."""
    sums = dict(
        AuditFinding.objects.filter(resolved_at=None)
        .order_by()
        .values_list("comparison")
        .annotate(drift=Sum("drift_events"))
    )
    for comparison in Comparison:
        AUDIT_DRIFT_EVENTS.labels(comparison.value).set(sums.get(comparison.value, 0))


def encode_difference(row: Difference) -> dict[str, Any]:
    """A difference as JSON; values in thousandths."""
    return {
        "tier": row.tier,
        "video_id": row.video_id,
        "event_type_id": row.event_type_id,
        "start": row.start.isoformat() if row.start else None,
        "found": asdict(row.found) if row.found else None,
        "expected": asdict(row.expected) if row.expected else None,
    }


def _record(findings: Sequence[Finding], *, partition: int, hour: datetime, now: datetime) -> None:
    with transaction.atomic():
        _upsert(findings, partition=partition, hour=hour, now=now)
        _resolve(partition=partition, hour=hour, keep=[finding.comparison for finding in findings], now=now)


def _upsert(findings: Sequence[Finding], *, partition: int, hour: datetime | None, now: datetime) -> None:
    for finding in findings:
        AuditFinding.objects.update_or_create(
            partition=partition,
            hour=hour,
            comparison=finding.comparison.value,
            defaults={
                "drift_events": finding.drift_events,
                "text": finding.text,
                "differences": [encode_difference(row) for row in finding.differences[:LISTED_DIFFERENCES]],
                "last_seen_at": now,
                "resolved_at": None,
            },
            create_defaults={
                "drift_events": finding.drift_events,
                "text": finding.text,
                "differences": [encode_difference(row) for row in finding.differences[:LISTED_DIFFERENCES]],
                "first_seen_at": now,
                "last_seen_at": now,
            },
        )


def _resolve(*, partition: int, hour: datetime | None, keep: Iterable[str], now: datetime) -> None:
    AuditFinding.objects.filter(partition=partition, hour=hour, resolved_at=None).exclude(
        comparison__in=list(keep)
    ).update(resolved_at=now)
