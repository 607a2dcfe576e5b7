"""A member of the cluster: one supervised process, server or application, with faults for tests.

Invariant: `_wanted` says whether the process should run. Only a wanted process is restarted when it dies: after `kill`
and `stop` it stays down until `start`, while one that was killed from outside is restarted. All access to the process
handle holds `_lock`, since the supervisor's thread restarts processes while a test injects faults.
"""

import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from signal import Signals

import psutil

from devtools.localcluster.errors import NotReady
from devtools.localcluster.process import (
    Launch,
    ProcessIdentity,
    find_tree,
    is_paused,
    kill_group,
    send_signal,
    spawn,
)
from devtools.localcluster.state import StateFolder, write_json
from devtools.localcluster.waiting import Waiter
from runtime.backoff import Backoff

KILL_SECONDS = 10.0
PAUSE_SECONDS = 5.0
RESTART = Backoff(first_seconds=0.5, max_seconds=10.0, jitter=0.0)
STABLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Record:
    """Record of a running member on disk, for `bin/status` and for cleaning up after an unclean stop."""

    name: str
    kind: str
    pid: int
    created_at_seconds: float
    death_signal: int
    restarts: int


class Member(ABC):
    """`name` is unique in the cluster; logs, records and data are named after it."""

    kind: str
    stop_signals: tuple[tuple[Signals, float], ...]
    """Signals of a graceful stop, each with the seconds it may take; then the whole tree is killed."""
    discard_signals: tuple[tuple[Signals, float], ...] = ()
    """The same for a stop after which the data are deleted."""

    def __init__(self, *, name: str, state: StateFolder, waiter: Waiter, ready_seconds: float) -> None:
        self.name = name
        self._state = state
        self._waiter = waiter
        self._ready_seconds = ready_seconds
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._restarts = 0
        self._failures = 0
        self._started_at = 0.0
        self._restart_at: float | None = None

    @abstractmethod
    def describe_launch(self) -> Launch: ...

    @abstractmethod
    def find_obstacle(self) -> str | None:
        """Why the member is not ready; None when it is. Bounded in time."""

    def find_processes(self, pid: int) -> list[psutil.Process]:
        """The process with its descendants, parents first."""
        return find_tree(pid)

    # -- state -----------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        with self._lock:
            return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Exit status of a process that ended although it should run, until it is restarted; else None."""
        with self._lock:
            return None if self._process is None else self._process.poll()

    @property
    def is_wanted(self) -> bool:
        """Whether it should run; false after `stop` and `kill`."""
        return self._wanted

    @property
    def is_frozen(self) -> bool:
        with self._lock:
            return self.is_running and self._process is not None and is_paused(psutil.Process(self._process.pid))

    @property
    def restarts(self) -> int:
        """Number of restarts by the supervisor."""
        return self._restarts

    @property
    def pid(self) -> int:
        """Raises NotReady when it does not run."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                raise NotReady(f"{self.name} does not run")
            return self._process.pid

    def list_child_pids(self) -> list[int]:
        """All descendants of the process; empty if it does not run."""
        with self._lock:
            return [process.pid for process in self.find_processes(self.pid)[1:]] if self.is_running else []

    # -- for tests and operators -------------------------------------------------------------------

    def start(self) -> None:
        """Start it unless it runs. Does not wait; see `wait_ready`."""
        with self._lock:
            self._wanted = True
            self._failures = 0
            if not self.is_running:
                self._spawn()

    def stop(self) -> None:
        """Stop the process and its descendants gracefully; kill those that do not end in time."""
        self._end(self.stop_signals)

    def discard(self) -> None:
        """Stop it as quickly as possible; its data are not used again."""
        self._end(self.discard_signals)

    def _end(self, signals: tuple[tuple[Signals, float], ...]) -> None:
        with self._lock:
            self._wanted = False
            process = self._process
            if process is None:
                return
            tree = self.find_processes(process.pid) if process.poll() is None else []
            send_signal(tree, signal.SIGCONT)  # a paused process reacts to SIGKILL only
            for number, seconds in signals:
                if process.poll() is None:
                    process.send_signal(number)
                    self._await_exit(process, seconds)
            self._kill_and_reap(tree)

    def kill(self) -> None:
        """`kill -9` of the process and its descendants. It stays down until `start`."""
        with self._lock:
            self._wanted = False
            self._kill_and_reap(self.find_processes(self._process.pid) if self._process and self.is_running else [])

    def pause(self) -> None:
        """Freeze the process and its descendants: connections stay open. Returns when all are frozen."""
        root = self.pid
        send_signal(self.find_processes(root), signal.SIGSTOP)
        self._waiter.wait_until(
            lambda: None if all(is_paused(process) for process in self.find_processes(root)) else "it still moves",
            what=f"{self.name}, paused,",
            within_seconds=PAUSE_SECONDS,
        )

    def resume(self) -> None:
        send_signal(self.find_processes(self.pid), signal.SIGCONT)

    @contextmanager
    def taken_down(self) -> Iterator[bool]:
        """Stopped while the context lasts, without being restarted; started again afterwards, also after an error.

        Yields whether the member should run; if not, it is neither stopped nor started.
        """
        with self._lock:
            if not self._wanted:
                yield False
                return
            self.stop()
            try:
                yield True
            finally:
                self.start()

    def restart(self) -> None:
        self.stop()
        self.start()

    def wait_ready(self, *, within_seconds: float | None = None) -> None:
        """Raises NotReady with the end of its log, StopRequested when the cluster is told to stop."""
        try:
            self._waiter.wait_until(
                self._find_any_obstacle,
                what=self.name,
                within_seconds=self._ready_seconds if within_seconds is None else within_seconds,
            )
        except NotReady as error:
            raise NotReady(f"{error}\n--- end of its log:\n{self._state.read_log_tail(self.name)}") from error

    # -- for the supervisor ------------------------------------------------------------------------

    def heal(self, *, now: float) -> str | None:
        """Restart the process if it should run and has died, with a growing delay. Returns a line to report, or None.

        Does nothing while another thread holds the lock, so that the supervisor never waits for one member.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if not self._wanted or self._process is None:
                return None
            status = self._process.poll()
            if status is None:
                if now - self._started_at > STABLE_SECONDS:
                    self._failures = 0
                return None
            if self._restart_at is None:
                kill_group(self._process.pid)  # remaining children would hold its port
                self._failures += 1
                delay_seconds = RESTART.compute_seconds(self._failures)
                self._restart_at = now + delay_seconds
                return f"{self.name} ended with status {status}; restarting it in {delay_seconds:.1f} s"
            if now < self._restart_at:
                return None
            self._restart_at = now + RESTART.max_seconds  # in case the start itself fails
            self._restarts += 1
            self._spawn()
            return f"{self.name} restarted"
        finally:
            self._lock.release()

    def _find_any_obstacle(self) -> str | None:
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                return f"it ended with status {self._process.returncode}"
        return self.find_obstacle()

    def _spawn(self) -> None:
        launch = self.describe_launch()
        self._state.bound_log(self.name)
        self._process = spawn(launch, log=self._state.get_log_path(self.name))
        self._started_at = time.monotonic()
        self._restart_at = None
        try:
            identity = ProcessIdentity.read(self._process.pid)
        except psutil.NoSuchProcess:
            return  # it has already ended, `heal` will see it
        record = Record(
            name=self.name,
            kind=self.kind,
            pid=identity.pid,
            created_at_seconds=identity.created_at_seconds,
            death_signal=int(launch.death_signal),
            restarts=self._restarts,
        )
        write_json(self._state.get_record_path(self.name), asdict(record))

    def _kill_and_reap(self, tree: list[psutil.Process]) -> None:
        """Kill the rest of the tree, parents first so that none restarts a child; reap our child."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait(timeout=KILL_SECONDS)
            kill_group(self._process.pid)
        send_signal(tree, signal.SIGKILL)
        psutil.wait_procs(tree, timeout=KILL_SECONDS)
        self._process = None
        self._restart_at = None
        self._state.get_record_path(self.name).unlink(missing_ok=True)

    @staticmethod
    def _await_exit(process: subprocess.Popen[bytes], seconds: float) -> None:
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return
