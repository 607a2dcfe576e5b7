"""`manage.py bench`: parts on servers of their own, exact counts or no report, as text, JSON and a page."""

import json
import sys

import pytest

from tests.processes import run

pytestmark = [pytest.mark.system, pytest.mark.long(minutes=1)]

EVENTS = 2500
BATCH, SECONDS = 10, 0.3
BENCH_SECONDS = 240
TABLES = ("raw_event", "event_ids", "event_minute", "event_total", "ledger")


def test_every_event_of_measured_posts_and_drains_is_accounted_for(tmp_path):
    json_file, page = tmp_path / "report.json", tmp_path / "report.html"
    result = run(
        [
            sys.executable, "manage.py", "bench", "drain", "ingest", "--quick", "--json", json_file, "--html", page,
            "--shards", "2", "--replicas", "0", "--partitions", "4", "--workers", "2", "--events", str(EVENTS),
            "--batches", str(BATCH), "--connections", "4", "--seconds", str(SECONDS),
        ],
        within_seconds=BENCH_SECONDS,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("starting servers") == 1
    ingest, drain = json.loads(json_file.read_text())["parts"]
    check_ingest(ingest)
    assert f"{ingest['figures']['acknowledged_events']:,} events were acknowledged" in result.stdout
    check_drain(drain)
    for heading in ("ingest: from a post to its 202", "drain: from a full log to committed"):
        assert heading in result.stdout
        assert f"<h2>{heading}" in page.read_text()
    assert page.read_text().count("<svg") == 2


def check_ingest(part):
    figures = part["figures"]
    assert [(run["batch_events"], run["connections"], run["share"]) for run in figures["runs"]] == [
        (BATCH, 4, None),
        (BATCH, 256, 0.5),
        (BATCH, 256, 0.8),
    ]
    capacity = figures["runs"][0]["events_per_second"]
    assert figures["capacity_events_per_second"] == {str(BATCH): capacity}
    asked = [round(capacity * SECONDS / BATCH), *(int(share * capacity / BATCH * SECONDS) for share in (0.5, 0.8))]
    assert figures["acknowledged_events"] >= BATCH * sum(asked)  # and what warmed up
    assert figures["acknowledged_events"] % BATCH == 0
    for measured in figures["runs"]:
        assert set(measured["cpu_seconds_per_million"]) == {"gateway", "log", "load generator"}
        assert measured["p50_ms"] <= measured["p99_ms"] <= measured["max_ms"]


def check_drain(part):
    [report] = part["figures"]["rounds"]
    assert report["event_count"] == EVENTS
    assert report["committed"] == dict.fromkeys(TABLES, EVENTS)
    assert report["flush_count"] == 4
    assert set(report["cpu_seconds_per_million"]) == {"primaries", "replicas", "log", "broker and cache", "workers"}
    assert report["events_per_second"] == pytest.approx(EVENTS / report["seconds"])
    assert report["ratio_to_floor"] == pytest.approx(report["events_per_second"] / report["floor_events_per_second"])
    assert len(report["worker_peak_rss_bytes"]) == 2
