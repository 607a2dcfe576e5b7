"""Watches the members and restarts those that have died; one supervisor for each state folder.

The lock is a kernel lock (`flock`), released when its holder ends in whatever way. The file beside it only tells other
processes what the holder is doing.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from devtools.localcluster.errors import AlreadyRunning, LocalClusterError
from devtools.localcluster.member import Member
from devtools.localcluster.process import ProcessIdentity
from devtools.localcluster.state import PRIVATE_FILE, StateFolder, read_json, write_json

TICK_SECONDS = 0.5
LOG_CHECK_SECONDS = 10.0


class Phase(StrEnum):
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SupervisorRecord:
    pid: int
    created_at_seconds: float
    phase: Phase


LOCK_SECONDS = 1.0
LOCK_RETRY_SECONDS = 0.05


class ClusterLock:
    """Held while a cluster runs. Not inherited by child processes."""

    def __init__(self, state: StateFolder) -> None:
        self._state = state
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        return self._descriptor is not None

    def acquire(self) -> None:
        """Raises AlreadyRunning.

        Retries briefly: a child that a killed supervisor was just starting holds the lock until its exec.
        """
        descriptor = os.open(self._state.lock_file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE_FILE)
        give_up_at = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= give_up_at:
                    os.close(descriptor)
                    raise AlreadyRunning(f"a supervisor already runs {self._state.root}") from error
                time.sleep(LOCK_RETRY_SECONDS)
            else:
                self._descriptor = descriptor
                return

    def announce(self, phase: Phase) -> None:
        identity = ProcessIdentity.read(os.getpid())
        write_json(
            self._state.supervisor_file, asdict(SupervisorRecord(identity.pid, identity.created_at_seconds, phase))
        )

    def release(self, *, phase: Phase | None = None) -> None:
        """Leaves a record with `phase` for processes that wait for the outcome; None: no record."""
        if self._descriptor is None:
            return
        if phase is None:
            self._state.supervisor_file.unlink(missing_ok=True)
        else:
            self.announce(phase)
        os.close(self._descriptor)
        self._descriptor = None


def find_supervisor(state: StateFolder) -> SupervisorRecord | None:
    """The running supervisor of this state folder, or None."""
    content = read_json(state.supervisor_file)
    if not isinstance(content, dict):
        return None
    record = SupervisorRecord(content["pid"], content["created_at_seconds"], Phase(content["phase"]))
    identity = ProcessIdentity(pid=record.pid, created_at_seconds=record.created_at_seconds)
    return record if identity.find() is not None else None


class Supervisor:
    """A thread that restarts dead members. `pause` it while members are stopped on purpose."""

    def __init__(self, *, state: StateFolder, report: Callable[[str], None]) -> None:
        self._state = state
        self._report = report
        self._members: list[Member] = []
        self._lock = threading.Lock()  # protects _members
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, members: Sequence[Member]) -> None:
        with self._lock:
            self._members += [member for member in members if member not in self._members]
            if self._thread is None:
                self._stopping.clear()
                self._thread = threading.Thread(target=self._run, name="devtools.localcluster-supervisor", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """After this returns, no member is restarted."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._members = []
        self._stopping.set()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        next_log_check_at = time.monotonic() + LOG_CHECK_SECONDS
        while not self._stopping.wait(TICK_SECONDS):
            with self._lock:
                members = list(self._members)
            for member in members:
                self._heal(member)
            if time.monotonic() >= next_log_check_at:
                next_log_check_at = time.monotonic() + LOG_CHECK_SECONDS
                for member in members:
                    self._state.bound_log(member.name)

    def _heal(self, member: Member) -> None:
        try:
            noticed = member.heal(now=time.monotonic())
        except (LocalClusterError, OSError) as error:  # a full disk, say: it is tried again
            noticed = f"cannot restart {member.name}: {error}"
        if noticed:
            self._report(noticed)
