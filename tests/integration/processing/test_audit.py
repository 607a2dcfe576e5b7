"""Audits on real shards: equal when all is well, at any moment; and naming hour, partition and rows when not."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from runtime.metrics import REGISTRY
from tests.integration.processing.counted import HOUR, HOURS, PARTITION, count_events
from viewcounter.config import get_config
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.maintenance.audit import audit_cluster, audit_hour
from viewcounter.maintenance.audit_runs import audit_partition, run_audit
from viewcounter.maintenance.models import AuditFinding
from viewcounter.maintenance.settings import AuditSettings

LIMITS = AuditSettings(future_seconds=300, max_differences=100)


@pytest.fixture
def counted(clean_cluster, django_db_blocker):
    with django_db_blocker.unblock():
        AuditFinding.objects.all().delete()
        yield count_events(clean_cluster)
        AuditFinding.objects.all().delete()


def audit(counted, hour):
    with counted.cluster.transaction(PARTITION) as connection:
        [found] = audit_hour(connection, [PARTITION], hour=hour, limits=LIMITS)
    return found


def get_hours(counted):
    return [counted.first_hour + HOUR * place for place in range(HOURS)]


def summarize(audit):
    return {finding.comparison.value: finding.drift_events for finding in audit.findings}


def test_ledger_raw_events_and_aggregates_of_every_hour_are_equal(counted):
    audits = [audit(counted, hour) for hour in get_hours(counted)]
    assert [a.findings for a in audits] == [[]] * HOURS
    assert sum(a.ledger.counted for a in audits) == len(counted.events) == 200
    assert all(a.raw.count == a.ledger.counted == a.aggregate_count for a in audits)
    assert all(a.raw.digest == a.ledger.digest for a in audits)
    empty = audit(counted, counted.first_hour - HOUR)
    assert (empty.ledger.received, empty.raw.count, empty.raw.digest, empty.balances) == (0, 0, 0, True)


@pytest.mark.parametrize(
    ("statement", "drifts"),
    [
        ("UPDATE event_minute SET count = count + 3 WHERE {row}", {"aggregate": 3, "minute": 3}),
        ("DELETE FROM event_minute WHERE {row}", {"aggregate": 1, "minute": 1}),
        ("UPDATE event_minute SET sum = sum + 1 WHERE {row}", {"minute": 0}),
        (
            "INSERT INTO event_minute SELECT partition, 'nobody', 1, start, 2, 2, 1, 1 FROM event_minute WHERE {row}",
            {"aggregate": 2, "minute": 2},
        ),
        ("UPDATE event_minute SET video_id = 'other' WHERE {row}", {"minute": 2}),
        ("UPDATE event_minute SET start = start + interval '30 seconds' WHERE {row}", {"minute": 2}),
        ("DELETE FROM raw_event WHERE event_id = %(event_id)s", {"raw_count": 1, "minute": 1}),
        ("UPDATE raw_event SET event_id = gen_random_uuid() WHERE event_id = %(event_id)s", {"raw_digest": 0}),
        (
            "UPDATE ledger SET counted = counted - 1, duplicate = duplicate + 1 WHERE hour = %(hour)s",
            {"raw_count": 1, "aggregate": 1},
        ),
    ],
)
def test_what_was_corrupted_by_hand_is_named_by_hour_partition_and_row(counted, statement, drifts):
    once = next(e for e in counted.events if counted.read("event_minute")[get_key(e)][0] == 1)
    video, type_id, minute = get_key(once)
    row = "partition = 3 AND video_id = %(video)s AND event_type_id = %(type_id)s AND start = %(minute)s"
    hour = minute.replace(minute=0)
    parameters = {"video": video, "type_id": type_id, "minute": minute, "hour": hour, "event_id": once.event_id.hex()}
    with counted.cluster.transaction(PARTITION) as connection:
        assert connection.execute(statement.format(row=row), parameters).rowcount == 1
    for other in get_hours(counted):
        found = audit(counted, other)
        assert summarize(found) == (drifts if other == hour else {})
        if other == hour and "minute" in drifts:
            [finding] = [f for f in found.findings if f.comparison == "minute"]
            assert minute in {difference.start for difference in finding.differences}


def get_key(event):
    return event.video_id, event.type_id, datetime.fromtimestamp(event.occurred_us // 60_000_000 * 60, UTC)


def test_raw_events_without_an_id_that_would_betray_a_duplicate_are_reported(counted):
    hour = counted.first_hour
    blocks = counted.execute("DELETE FROM event_ids WHERE minute = (SELECT min(minute) FROM event_ids)")
    assert blocks >= 1
    first = min(event.occurred_us // 60_000_000 for event in counted.events)
    lost = sum(event.occurred_us // 60_000_000 == first for event in counted.events)
    assert summarize(audit(counted, hour)) == {"ids": lost}


def test_ids_of_events_that_are_not_admitted_any_more_may_be_gone(counted):
    hour = counted.first_hour
    ahead = datetime.now(UTC) + timedelta(days=3)
    event_id = UUID(int=(int(ahead.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | 1)
    event = AcceptedEvent(event_id.bytes, counted.videos[0], 1, int(hour.timestamp()) * 1_000_000, 1000)
    counted.log.append({PARTITION: pack_entry([event], received_us=int(hour.timestamp() * 1_000_000))})
    counted.drain()
    assert counted.execute("DELETE FROM event_ids WHERE minute > now() + interval '1 day'") == 1
    assert summarize(audit(counted, hour)) == {"ids": 1}
    edge = hour + timedelta(minutes=1)
    counted.execute("UPDATE partition_state SET admits_since = %s WHERE partition = 3", edge)
    assert audit(counted, hour).balances


def test_rolled_hours_are_compared_with_their_minutes_unless_they_are_marked(counted):
    hour = counted.first_hour
    counted.roll(through=hour + HOUR * 2)
    assert audit(counted, hour).balances
    counted.execute("UPDATE event_hour SET max = max + 1 WHERE start = %s AND event_type_id = 1", hour)
    rows = {key for key in counted.read("event_hour") if key[2] == hour and key[1] == 1}
    [finding] = audit(counted, hour).findings
    assert (finding.comparison, finding.drift_events) == ("hour", 0)
    assert {(d.video_id, d.event_type_id, d.start) for d in finding.differences} == rows
    counted.execute("INSERT INTO rollup_dirty SELECT partition, 'hour', video_id, event_type_id, start FROM event_hour")
    assert audit(counted, hour).balances


def test_hours_whose_minutes_are_gone_are_compared_by_their_rolled_rows(counted):
    counted.roll(through=counted.first_hour + HOUR * 2)
    counted.execute("DELETE FROM event_minute WHERE start < %s", counted.first_hour + HOUR)
    edge = counted.first_hour + HOUR
    counted.execute("UPDATE partition_state SET minutes_since = %s, admits_since = %s WHERE partition = 3", edge, edge)
    found = audit(counted, counted.first_hour)
    assert (found.tier, found.aggregate_count, found.balances) == ("hour", found.ledger.counted, True)
    counted.execute("UPDATE event_hour SET count = count + 1 WHERE start = %s", counted.first_hour)
    assert summarize(audit(counted, counted.first_hour)) == {
        "aggregate": len([key for key in counted.read("event_hour") if key[2] == counted.first_hour])
    }


def test_raw_events_of_hours_before_the_days_still_kept_are_not_compared(counted):
    found = audit(counted, counted.first_hour - timedelta(days=5))
    assert (found.raw, found.tier, found.balances) == (None, "minute", True)


def test_findings_are_kept_published_and_resolved(counted):
    settings, now = get_config().audit, datetime.now(UTC)
    run_audit(counted.cluster, PARTITION, settings=settings, now=now)
    assert AuditFinding.objects.count() == 0
    hour = counted.first_hour
    key = min(key for key in counted.read("event_minute") if key[2] < hour + HOUR)
    add = "UPDATE event_minute SET count = count + %s WHERE video_id = %s AND event_type_id = %s AND start = %s"
    counted.execute(add, 5, *key)
    audit_partition(counted.cluster, PARTITION, hours=get_hours(counted), settings=settings, now=now)
    found = AuditFinding.objects.order_by("comparison").values_list("partition", "hour", "comparison", "drift_events")
    assert list(found) == [
        (PARTITION, hour, "aggregate", 5),
        (PARTITION, hour, "minute", 5),
        (PARTITION, None, "total", 5),
    ]
    assert get_drift("minute") == 5
    counted.execute(add, -5, *key)
    run_audit(counted.cluster, PARTITION, settings=settings, now=now + timedelta(hours=1))
    assert AuditFinding.objects.filter(resolved_at=None).count() == 0
    assert AuditFinding.objects.count() == 3
    assert get_drift("minute") == 0


def get_drift(comparison):
    return REGISTRY.get_sample_value("viewcounter_audit_drift_events", {"comparison": comparison})


def test_the_clusters_hour_names_a_shard_that_does_not_answer(counted):
    found = audit_cluster(counted.cluster, hour=counted.first_hour, limits=LIMITS, deadline_seconds=20)
    assert found.balances
    assert [a.partition for a in found.partitions] == list(range(counted.cluster.topology.partition_count))
    moved = counted.cluster.topology.get_shard_of(PARTITION)
    counted.execute("UPDATE partition_state SET state = 'moved' WHERE partition = 3")
    found = audit_cluster(counted.cluster, hour=counted.first_hour, limits=LIMITS, deadline_seconds=20)
    assert (found.missing, found.balances) == ({moved.name: (PARTITION,)}, False)
