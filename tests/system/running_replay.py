"""A replay that runs beside a test, so that faults can be put into the middle of it."""

import json
import re
import subprocess
import sys
import threading
from types import TracebackType
from typing import Any, Self

from localcluster import LocalCluster
from localcluster.waiting import Waiter
from viewcounter.config import PROJECT_ROOT

REPLAY_SECONDS = 180
PROGRESS_SECONDS = 60
_SENT_SO_FAR = re.compile(rb"(\d+) of (\d+)")


class RunningReplay:
    """Starts with the block; `wait_for_share` blocks until that share of its events has been acknowledged."""

    def __init__(self, cluster: LocalCluster, *arguments: str) -> None:
        self._command = [sys.executable, "manage.py", "replay", "--json", *arguments]
        self._environment = cluster.environment
        self._share = 0.0
        self._progress: list[bytes] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=PROJECT_ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(timeout=10)
        self._reader.join(timeout=10)

    def _follow(self) -> None:
        for line in self._process.stderr:
            self._progress.append(line)
            if found := _SENT_SO_FAR.search(line.replace(b",", b"")):
                self._share = int(found[1]) / int(found[2])

    def wait_for_share(self, share: float) -> None:
        def find_obstacle() -> str | None:
            if self._share >= share or self._process.poll() is not None:
                return None
            return f"{self._share:.0%} is sent"

        Waiter().wait_until(find_obstacle, within_seconds=PROGRESS_SECONDS, what=f"{share:.0%} of the replay")
        assert self._process.poll() is None, "the replay ended before the fault: " + self.describe()

    def read_report(self) -> dict[str, Any]:
        """Of the finished replay, exact or not."""
        output = self._process.stdout.read()
        self._process.wait(timeout=REPLAY_SECONDS)
        assert output, "the replay ended without a report: " + self.describe()
        report: dict[str, Any] = json.loads(output)
        return report

    def describe(self) -> str:
        return b"".join(self._progress[-20:]).decode(errors="replace")
