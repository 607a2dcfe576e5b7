"""`bin/drill --quick`: kills, a zombie, locks and bad clients under load; the promise holds."""

import json
import sys
from itertools import pairwise

import pytest

from tests.processes import run
from viewcounter.operations.drill.catalogue import QUICK_KINDS, QUICK_SEED

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
    assert report["acknowledged"] > 0 and report["poison"] == 1
    assert report["duplicates_sent"] > 0 and report["refused"] > 0  # replays, and a clock that is ahead
    assert all(later["second"] == earlier["second"] + 1 for earlier, later in pairwise(report["post_seconds"]))
    assert "The promise held" in html.read_text()
