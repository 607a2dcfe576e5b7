"""No process outlives the test that started it.

Processes that a test has started and not ended are killed after it, and the test fails. After a failed test, and after
the last one, descendants whose parents have ended are found too: the environment of each names its test. A test that
runs past twice its time limit, because its clean-up hangs, ends the run.
"""

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devtools.localcluster.process import OWNER_VARIABLE, send_signal
from tests.clusters import list_state_folders

_RUN_VARIABLE = "PYTEST_PROCESS"
"""In the environment of every process that this one starts: identifies this process."""
_TEST_VARIABLE = "PYTEST_CURRENT_TEST"
"""Set by pytest."""
_GONE_SECONDS = 2.0
"""Time for processes that are ending."""
_WATCH_SECONDS = 1.0
_TASKS = Path("/proc/self/task")


class Leftovers:
    def __init__(self) -> None:
        self._run = f"{os.getpid()}.{time.monotonic_ns()}"
        os.environ[_RUN_VARIABLE] = self._run
        self._before: set[int] = set()
        self._failed = False
        self._give_up_at: float | None = None
        threading.Thread(target=self._watch, name="leftovers", daemon=True).start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        mark = item.get_closest_marker("timeout")
        seconds = float(mark.args[0] if mark else item.config.option.timeout)
        self._give_up_at = time.monotonic() + 2 * seconds
        self._failed = False
        try:
            return (yield)
        finally:
            self._give_up_at = None

    @pytest.hookimpl
    def pytest_exception_interact(self) -> None:
        self._failed = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        self._before = list_children()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        try:
            return (yield)
        finally:
            left = await_end(list_children() - self._before)
            if nextitem is None:
                left += await_end(self._list_descendants(""))
            elif self._failed:
                left += await_end(self._list_descendants(item.nodeid))
            if left:
                told = [describe(process) for process in left]
                kill(left)
                pytest.fail(f"processes were left running: {'; '.join(told)}", pytrace=False)

    def _list_descendants(self, nodeid: str) -> set[int]:
        """Descendants of this run that were started in the given test, or in any."""
        pids = set()
        for process in psutil.process_iter():
            try:
                environment = process.environ()
            except psutil.Error:  # it has just ended, or is somebody else's
                continue
            if environment.get(_RUN_VARIABLE) == self._run and environment.get(_TEST_VARIABLE, "").startswith(nodeid):
                pids.add(process.pid)
        return pids - {os.getpid()}

    def _watch(self) -> None:
        while True:
            time.sleep(_WATCH_SECONDS)
            if self._give_up_at is not None and time.monotonic() > self._give_up_at:
                faulthandler.dump_traceback(sys.__stderr__)
                kill(psutil.Process().children())
                os._exit(1)


def list_children() -> set[int]:
    """Pids of our own children, including zombies."""
    pids: set[int] = set()
    for task in _TASKS.iterdir() if _TASKS.exists() else ():
        try:
            pids.update(int(pid) for pid in (task / "children").read_text().split())
        except OSError:  # a thread that has just ended
            continue
    return pids


def await_end(pids: set[int]) -> list[psutil.Process]:
    """The processes that have not ended within _GONE_SECONDS."""
    deadline = time.monotonic() + _GONE_SECONDS
    while (left := find_strangers(pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def find_strangers(pids: set[int]) -> list[psutil.Process]:
    """The living processes that belong to no cluster of a fixture."""
    kept = list_state_folders()
    strangers = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE and not is_kept(process, kept):
                strangers.append(process)
        except psutil.Error:  # it has just ended
            continue
    return strangers


def is_kept(process: psutil.Process, folders: set[str]) -> bool:
    """By its environment or working folder, since PostgreSQL and Valkey overwrite their environment with a title."""
    return process.environ().get(OWNER_VARIABLE) in folders or process.cwd().startswith(tuple(folders))


def describe(process: psutil.Process) -> str:
    try:
        test = process.environ().get(_TEST_VARIABLE, "no test").split(" (")[0]
        return f"{process.pid} {' '.join(process.cmdline())[:200].strip()}, started by {test}"
    except psutil.Error:
        return str(process.pid)


def kill(processes: list[psutil.Process]) -> None:
    """With their descendants, parents first."""
    for process in processes:
        try:
            tree = [process, *process.children(recursive=True)]
        except psutil.Error:
            continue
        send_signal(tree, signal.SIGKILL)
        psutil.wait_procs(tree, timeout=_GONE_SECONDS)


def pytest_configure(config: pytest.Config) -> None:
    if not config.option.collectonly:
        config.pluginmanager.register(Leftovers(), "viewcounter-leftovers")
