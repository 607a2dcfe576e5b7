"""Processes of tests: each in a session of its own, ended with its context and with this process."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from devtools.localcluster.process import Launch, find_tree, kill_group, send_signal, start
from tests.pace import limit
from viewcounter.config.project import PROJECT_ROOT

Argument = str | Path


def run(
    command: Sequence[Argument],
    *,
    within_seconds: float,
    environment: Mapping[str, str] | None = None,
    cwd: Path = PROJECT_ROOT,
) -> subprocess.CompletedProcess[str]:
    """To its end. Raises TimeoutExpired past the limit, when nothing of it is left."""
    with running(command, environment=environment, cwd=cwd, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=limit(within_seconds))
    return subprocess.CompletedProcess(list(command), process.returncode, out, err)


@contextmanager
def running(
    command: Sequence[Argument],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path = PROJECT_ROOT,
    stdout: int = subprocess.PIPE,
    stderr: int | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Whatever becomes of the block, the process and everything below it are gone afterwards."""
    launch = Launch(
        argv=tuple(str(argument) for argument in command),
        cwd=cwd,
        environment=os.environ if environment is None else environment,
        death_signal=signal.SIGTERM,
    )
    process = start(launch, stdout=stdout, stderr=stderr)
    try:
        yield process
    finally:
        if process.poll() is None:
            send_signal(find_tree(process.pid), signal.SIGKILL)
        kill_group(process.pid)
        process.communicate()


def lives(process: psutil.Process) -> bool:
    """False also for a zombie: init may reap it late."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
