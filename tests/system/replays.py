"""A replay as a process of its own, as an operator starts it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from viewcounter.config import PROJECT_ROOT

REPLAY_SECONDS = 120


def start_replay(environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "replay", "--json", *arguments],
        cwd=PROJECT_ROOT,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish_replay(replay: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Waits for its end; a replay that takes too long is killed and fails the test."""
    try:
        stdout, stderr = replay.communicate(timeout=REPLAY_SECONDS)
    finally:
        replay.kill()
        replay.wait()
    return subprocess.CompletedProcess(replay.args, replay.returncode, stdout, stderr)


def run_replay(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return finish_replay(start_replay(environment, *arguments))


def read_report(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The report of a replay that was exact in every way."""
    assert result.returncode == 0, result.stderr + result.stdout
    report: dict[str, Any] = json.loads(result.stdout)
    assert report["exact"] is True
    assert (report["wrong_count"], report["wrongly_refused"], report["wrongly_accepted"]) == (0, [], [])
    return report
