"""Starts pull processes as children of a Celery worker's main process, again when they end, and stops them.

They are programs of their own, not forks: the time limits and the recycling of the pool do not touch them, and they
inherit no thread, lock or connection. Each holds the reading end of a pipe whose writing end only this process has: at
its end of file they stop gracefully, whether this process stopped them or was killed.
"""

import logging
import os
import subprocess
import sys
import time
from contextlib import suppress

from runtime.backoff import Backoff
from runtime.periodic import PeriodicTask
from viewcounter.config.project import PROJECT_ROOT

logger = logging.getLogger(__name__)

RESTARTS = Backoff(0.5, 10.0, 0.5)
HEALTHY_SECONDS = 30.0
"""A child that ran longer is started again as after a first failure."""


class PullSupervisor:
    """`start` once, then `request_stop`, then `wait`."""

    def __init__(self, *, process_count: int) -> None:
        self._children = [_Child(number, self) for number in range(1, process_count + 1)]
        self.parent_fd = -1
        self._writing_fd = -1

    def start(self) -> None:
        self.parent_fd, self._writing_fd = os.pipe()
        # Pool processes are forked with every descriptor of this process. While one of them held the writing end, the
        # death of this process would go unnoticed.
        os.register_at_fork(after_in_child=self._close_pipe)
        for child in self._children:
            child.task.start()

    def request_stop(self) -> None:
        """Returns at once; may be called again."""
        for child in self._children:
            child.task.stop()
        self._close_pipe()

    def wait(self, *, within_seconds: float) -> None:
        """Until all children have ended; then those that have not are killed."""
        ends_at = time.monotonic() + within_seconds
        for child in self._children:
            child.end(within_seconds=max(0.0, ends_at - time.monotonic()))

    def _close_pipe(self) -> None:
        writing_fd, self._writing_fd = self._writing_fd, -1
        if writing_fd >= 0:
            with suppress(OSError):
                os.close(writing_fd)


class _Child:
    """One pull process after another."""

    def __init__(self, number: int, supervisor: PullSupervisor) -> None:
        self._name = f"pull process {number}"
        self._supervisor = supervisor
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self.task = PeriodicTask(self._name, self._run, interval_seconds=0.0)

    def end(self, *, within_seconds: float) -> None:
        self.task.stop(timeout_seconds=within_seconds)
        process = self._process
        if process is not None and process.poll() is None:
            logger.warning("%s has not stopped within its time and is killed", self._name)
            process.kill()
            process.wait()

    def _run(self) -> float:
        started_at = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "manage.py", "run_puller", "--parent-fd", str(self._supervisor.parent_fd)],
            cwd=PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=(self._supervisor.parent_fd,),
        )
        status = self._process.wait()
        if self.task.is_stopping:
            return 0.0
        is_old = time.monotonic() - started_at > HEALTHY_SECONDS
        self._failures = 1 if is_old else self._failures + 1
        seconds = RESTARTS.compute_seconds(self._failures)
        logger.warning("%s has ended with status %d and is started again in %.1f s", self._name, status, seconds)
        return seconds
