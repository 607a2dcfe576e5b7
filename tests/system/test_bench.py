"""`manage.py bench`: a report of exact counts, from servers of its own."""

import json
import subprocess
import sys

import pytest

from viewcounter.config import PROJECT_ROOT

pytestmark = pytest.mark.system

EVENTS = 2500
BENCH_SECONDS = 180


def test_drain_reports_that_every_event_was_committed_once_and_what_it_cost():
    result = subprocess.run(
        [
            sys.executable, "manage.py", "bench", "drain", "--json", "-", "--rounds", "1", "--events", str(EVENTS),
            "--workers", "2", "--shards", "2", "--replicas", "0", "--partitions", "4",
        ],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=BENCH_SECONDS,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    [part] = json.loads(result.stdout)["parts"]
    [report] = part["figures"]["rounds"]
    assert report["event_count"] == EVENTS
    assert report["committed"] == dict.fromkeys(
        ("raw_event", "event_ids", "event_minute", "event_total", "ledger"), EVENTS
    )
    assert report["flush_count"] == 4
    assert set(report["cpu_seconds_per_million"]) == {"primaries", "replicas", "log", "broker and cache", "workers"}
    assert report["events_per_second"] == pytest.approx(EVENTS / report["seconds"])
    assert report["ratio_to_floor"] == pytest.approx(report["events_per_second"] / report["floor_events_per_second"])
    assert len(report["worker_peak_rss_bytes"]) == 2
