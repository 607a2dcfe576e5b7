"""`bin/drill --quick`: kills, a zombie, locks and bad clients under load; the guarantee holds."""

import json
import sys
from itertools import pairwise

import pytest

from devtools.drill.registry import QUICK_KINDS, QUICK_SEED
from devtools.drill.run import BATCH_EVENTS
from tests.processes import run

DRILL_SECONDS = 600

pytestmark = [pytest.mark.system, pytest.mark.timeout(DRILL_SECONDS + 30)]


def test_every_acknowledged_event_of_the_quick_drill_is_counted_once(tmp_path):
    html, report_file = tmp_path / "drill.html", tmp_path / "drill.json"
    command = [sys.executable, "manage.py", "drill", "--quick", "--html", html, "--json", report_file]
    result = run(command, within_seconds=DRILL_SECONDS)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(report_file.read_text())
    assert (report["has_held"], report["violations"], report["seed"]) == (True, [], QUICK_SEED)
    assert sorted(incident["kind"] for incident in report["incidents"]) == sorted(QUICK_KINDS)
    assert [incident["error"] for incident in report["incidents"]] == [""] * len(QUICK_KINDS)
    check_load(report)
    assert all(later["second"] == earlier["second"] + 1 for earlier, later in pairwise(report["post_seconds"]))
    assert "The guarantee held" in html.read_text()


def check_load(report):
    """Every batch is finally acknowledged as a whole, or refused as a whole when the client's clock is fast."""
    answers = report["posts"]["answers"]
    assert report["poison"] == 1
    assert report["acknowledged"] % BATCH_EVENTS == 0
    assert report["refused"] == BATCH_EVENTS * answers["422"]
    sent_again = BATCH_EVENTS * answers["202"] - report["acknowledged"]
    # Of a batch that the log took in two parts, a replay repeats one.
    assert BATCH_EVENTS <= report["duplicates_sent"] <= sent_again
    by_second = report["post_seconds"]
    assert sum(second["fine"] for second in by_second) == answers["202"]
    assert sum(second["failed"] for second in by_second) == sum(answers.values()) - answers["202"]
