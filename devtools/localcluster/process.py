"""Child processes: started so that they die with this process, identified safely, signalled as whole trees.

A pid alone identifies nothing, as pids are reused. A process is therefore identified by its pid and creation time.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

import psutil

from devtools.localcluster.account import Account, build_switch
from devtools.localcluster.errors import ProgramFailed, StopRequested

OWNER_VARIABLE = "VIEWCOUNTER_LOCALCLUSTER"
"""A variable in the environment of every process of a cluster; its value is the state folder."""

_PR_SET_PDEATHSIG = 1
_CREATION_TOLERANCE_SECONDS = 1.0
_OUTPUT_TAIL_CHARS = 4_000
_OUTPUT_POLL_SECONDS = 0.2
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

# Linux sends the death signal when the *thread* that started the child ends. This one never does.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="devtools.localcluster-spawner")


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start one process. `death_signal`: the signal that it gets when this process dies."""

    argv: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str]
    death_signal: Signals
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    pid: int
    created_at_seconds: float

    @classmethod
    def read(cls, pid: int) -> "ProcessIdentity":
        """Raises psutil.NoSuchProcess."""
        return cls(pid=pid, created_at_seconds=psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """The process, unless it has ended (a zombie has) or the pid belongs to another one by now."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created_at_seconds) <= _CREATION_TOLERANCE_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def spawn(launch: Launch, *, log: Path) -> subprocess.Popen[bytes]:
    """Start a long-lived process in a session of its own, its output appended to `log`. Raises ProgramFailed."""
    return _spawner.submit(_spawn, launch, log).result()


def _spawn(launch: Launch, log: Path) -> subprocess.Popen[bytes]:
    descriptor = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    try:
        return _start(launch, stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor)
    finally:
        os.close(descriptor)


def start(launch: Launch, *, stdin: int = subprocess.DEVNULL, stdout: int, stderr: int | None) -> subprocess.Popen[str]:
    """Start a process in a session of its own, with pipes that the caller reads and closes. Raises ProgramFailed."""
    pipes = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "text": True, "errors": "replace"}
    return _spawner.submit(_start, launch, **pipes).result()


def _start(launch: Launch, **pipes: Any) -> subprocess.Popen[Any]:
    try:
        return subprocess.Popen(
            launch.argv,
            cwd=launch.cwd,
            env=dict(launch.environment),
            start_new_session=True,
            preexec_fn=_ParentDeathSignal(launch.death_signal),  # noqa: PLW1509 - see there
            **pipes,
            **build_switch(launch.account),
        )
    except OSError as error:
        raise ProgramFailed(f"cannot start {launch.argv[0]}: {error}") from error


def run_tool(launch: Launch, *, within_seconds: float, is_cancelled: Callable[[], bool] = lambda: False) -> str:
    """Run a program to its end and return its output.

    Raises ProgramFailed with the end of its output, and StopRequested when `is_cancelled` returns True.
    """
    process = start(launch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output = _await_output(process, within_seconds=within_seconds, is_cancelled=is_cancelled)
    finally:
        if process.poll() is None:
            kill_group(process.pid)
            process.communicate()
    if process.returncode != 0:
        tail = output.strip()[-_OUTPUT_TAIL_CHARS:]
        raise ProgramFailed(f"{' '.join(launch.argv[:4])} ended with status {process.returncode}:\n{tail}")
    return output


def _await_output(process: subprocess.Popen[str], *, within_seconds: float, is_cancelled: Callable[[], bool]) -> str:
    deadline = time.monotonic() + within_seconds
    while True:
        try:
            return process.communicate(timeout=_OUTPUT_POLL_SECONDS)[0]
        except subprocess.TimeoutExpired as error:
            if is_cancelled():
                raise StopRequested(f"gave up {process.args!r}") from error
            if time.monotonic() >= deadline:
                raise ProgramFailed(f"{process.args!r} did not end within {within_seconds:.0f} s") from error


class _ParentDeathSignal:
    """Runs in the child between fork and exec, after the change of account (which would clear the setting).

    Code there must not take locks that another thread may have held at the fork, so all names are looked up before.
    """

    def __init__(self, death_signal: Signals) -> None:
        self._prctl = _libc.prctl if _libc is not None else None
        self._signal_number = int(death_signal)
        self._parent_pid = os.getpid()

    def __call__(self) -> None:
        if self._prctl is not None:
            self._prctl(_PR_SET_PDEATHSIG, self._signal_number, 0, 0, 0)
        if os.getppid() != self._parent_pid:  # the parent died before the signal was set
            os._exit(1)


def find_tree(pid: int) -> list[psutil.Process]:
    """The process and all below it, itself first; empty when it has ended."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def is_paused(process: psutil.Process) -> bool:
    """Whether it is frozen or has ended."""
    try:
        return bool(process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE))
    except psutil.NoSuchProcess:
        return True


def send_signal(processes: Iterable[psutil.Process], number: Signals) -> None:
    """Signal each; those that have ended are skipped. psutil checks that the pid was not reused."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def kill_group(pgid: int) -> None:
    """Kill the processes of a dead session leader. The kernel reuses no pid while a group has that number."""
    try:
        os.killpg(pgid, signal.SIGKILL)
    except ProcessLookupError:
        return
    except PermissionError:
        # macOS says so of a group in which only zombies are left.
        return


def find_group_members(pgid: int, *, owner: str) -> list[psutil.Process]:
    """Processes of a group whose leader is gone, if they carry OWNER_VARIABLE: the number may have been reused."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pgid and process.environ().get(OWNER_VARIABLE) == owner:
                members.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return members
