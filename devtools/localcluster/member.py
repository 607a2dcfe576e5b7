"""A member of the cluster: one supervised process, server or application, that can be started and hurt.

Invariant: `_wanted` says whether the process should run. Only a wanted process is restarted when it dies, so
`kill` and `stop` leave it down until `start`, while a kill by hand from outside heals. Everything that reads
or changes the process handle holds `_lock`: the supervisor's thread heals while a test injects faults.
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
    """What is known of a running member, on disk for `bin/status` and for cleaning up after an unclean stop."""

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
    """The same of a stop after which the data are thrown away."""

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
        """Why it cannot be used yet, None when it is ready. Bounded in time."""

    # -- state -----------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        with self._lock:
            return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Of a process that ended by itself or was ended from outside, until it is started again; else None."""
        with self._lock:
            return None if self._process is None else self._process.poll()

    @property
    def is_wanted(self) -> bool:
        """Whether it should run; false for one that was stopped or killed on purpose."""
        return self._wanted

    @property
    def is_frozen(self) -> bool:
        with self._lock:
            return self.is_running and self._process is not None and is_paused(psutil.Process(self._process.pid))

    @property
    def restarts(self) -> int:
        """How often the supervisor has started it again."""
        return self._restarts

    @property
    def pid(self) -> int:
        """Raises NotReady when it does not run."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                raise NotReady(f"{self.name} does not run")
            return self._process.pid

    def list_child_pids(self) -> list[int]:
        """Every process below this one; empty when it does not run."""
        with self._lock:
            return [process.pid for process in find_tree(self.pid)[1:]] if self.is_running else []

    # -- what a test or an operator does -----------------------------------------------------------

    def start(self) -> None:
        """Start it unless it runs. Does not wait; see `wait_ready`."""
        with self._lock:
            self._wanted = True
            self._failures = 0
            if not self.is_running:
                self._spawn()

    def stop(self) -> None:
        """Stop it in order, with everything below it; kill what does not obey in time."""
        self._end(self.stop_signals)

    def discard(self) -> None:
        """Stop it as quickly as can be; its data are not used again."""
        self._end(self.discard_signals)

    def _end(self, signals: tuple[tuple[Signals, float], ...]) -> None:
        with self._lock:
            self._wanted = False
            process = self._process
            if process is None:
                return
            tree = find_tree(process.pid) if process.poll() is None else []
            send_signal(tree, signal.SIGCONT)  # a paused process obeys nothing but a kill
            for number, seconds in signals:
                if process.poll() is None:
                    process.send_signal(number)
                    self._await_exit(process, seconds)
            self._bury(tree)

    def kill(self) -> None:
        """`kill -9` of the process and of everything below it. It stays down until `start`."""
        with self._lock:
            self._wanted = False
            self._bury(find_tree(self._process.pid) if self._process and self.is_running else [])

    def pause(self) -> None:
        """Freeze it and everything below it: connections stay open and nothing answers. Returns when it is frozen."""
        root = self.pid
        send_signal(find_tree(root), signal.SIGSTOP)
        self._waiter.wait_until(
            lambda: None if all(is_paused(process) for process in find_tree(root)) else "it still moves",
            what=f"{self.name}, paused,",
            within_seconds=PAUSE_SECONDS,
        )

    def resume(self) -> None:
        send_signal(find_tree(self.pid), signal.SIGCONT)

    @contextmanager
    def taken_down(self) -> Iterator[bool]:
        """Down for the body, and nobody else can start it meanwhile; up again afterwards, also when the body failed.

        Gives whether it should run; if it should not, nothing is done to it, before or after.
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

    # -- what the supervisor does ------------------------------------------------------------------

    def heal(self, *, now: float) -> str | None:
        """Start it again if it should run and has died, with a growing delay. Returns what was noticed or done.

        Does nothing while somebody else is at it, so that others need not wait.
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
                kill_group(self._process.pid)  # what it left behind would hold its port
                self._failures += 1
                delay_seconds = RESTART.compute_seconds(self._failures)
                self._restart_at = now + delay_seconds
                return f"{self.name} ended with status {status}; starting it again in {delay_seconds:.1f} s"
            if now < self._restart_at:
                return None
            self._restart_at = now + RESTART.max_seconds  # should it not even start
            self._restarts += 1
            self._spawn()
            return f"{self.name} started again"
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

    def _bury(self, tree: list[psutil.Process]) -> None:
        """Kill what is left of the tree, parents first so that nothing is born again; reap our child."""
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
