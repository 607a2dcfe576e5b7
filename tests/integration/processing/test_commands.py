"""`manage.py audit` and `manage.py recount` as an operator uses them."""

import io
import json

import pytest
from django.core.management import CommandError, call_command

from tests.integration.processing.counted import PARTITION, count_events
from viewcounter.maintenance.models import AuditFinding, RecountJob


@pytest.fixture
def counted(clean_cluster, django_db_blocker):
    with django_db_blocker.unblock():
        yield count_events(clean_cluster)
        AuditFinding.objects.all().delete()
        RecountJob.objects.all().delete()


def call(*arguments):
    """Exit code and output."""
    out = io.StringIO()
    try:
        call_command(*arguments, stdout=out)
    except SystemExit as end:
        return end.code, out.getvalue()
    return 0, out.getvalue()


def test_an_audit_that_finds_nothing_exits_with_0_and_says_what_it_compared(counted):
    code, output = call("audit", "--hours", "40")
    partition_count = counted.cluster.topology.partition_count
    assert (code, output) == (
        0,
        f"{partition_count} partitions over 40 hours: 200 events counted, 0 partitions differ, 0 not compared\n",
    )


def test_an_audit_that_finds_drift_exits_with_1_names_it_and_a_recount_repairs_it(counted):
    video, type_id, start = min(counted.read("event_minute"))
    before = counted.read("event_minute")[video, type_id, start]
    counted.execute(
        "UPDATE event_minute SET count = count + 4 WHERE video_id = %s AND event_type_id = %s AND start = %s",
        *(video, type_id, start),
    )
    code, output = call("audit", "--hours", "40", "--partition", str(PARTITION), "--json")
    found = json.loads(output)
    assert (code, found["balances"], found["partitions"][0]["counted"]) == (1, False, 200)
    assert {(f["partition"], f["comparison"], f["drift_events"]) for f in found["findings"]} == {
        (PARTITION, "aggregate", 4),
        (PARTITION, "minute", 4),
        (PARTITION, "total", 4),
    }
    shown = f"minute {video}, event type {type_id}, {start.isoformat()}: count={before[0] + 4} sum={before[1]}"
    for options, verb in ((), "differing"), (("--apply",), "corrected"):
        code, output = call("recount", "--video", video, *options)
        assert (code, output.splitlines()[0].startswith(shown)) == (0, True)
        assert f"{verb}: 1 minutes" in output.splitlines()[-1]
    assert call("audit", "--hours", "40")[0] == 0
    assert AuditFinding.objects.filter(resolved_at=None).count() == 0
    counted.assert_exact()


def test_an_audit_that_cannot_compare_a_partition_exits_with_2(counted):
    counted.execute("UPDATE partition_state SET state = 'moved' WHERE partition = 3")
    code, output = call("audit", "--hours", "1", "--partition", "3")
    assert (code, output.splitlines()[0]) == (2, "partition 3: not compared: the shard does not hold this partition")


def test_a_recount_that_cannot_be_made_says_why(counted):
    with pytest.raises(CommandError, match="must be 0 to"):
        call("recount", "--partition", "99")
    counted.execute("DELETE FROM event_total")
    counted.execute("UPDATE partition_state SET state = 'held' WHERE partition = 3")
    with pytest.raises(CommandError, match="waits; a worker continues it: partition 3 is being moved"):
        call("recount", "--partition", "3", "--apply")
