"""From another process: start a cluster in the background, stop one that runs, remove what it kept."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from localcluster.errors import AlreadyRunning, NotReady
from localcluster.placement import remove_moved
from localcluster.process import ProcessIdentity
from localcluster.records import end_leftovers
from localcluster.state import StateFolder
from localcluster.supervisor import ClusterLock, Phase, SupervisorRecord, find_supervisor

SUPERVISOR_LOG = "supervisor"
POLL_SECONDS = 0.05
KILLED_SUPERVISOR_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class StopResult:
    """`was_running` says whether a supervisor was there; `leftovers` names what it had left behind."""

    was_running: bool
    leftovers: tuple[str, ...]


def start_detached(
    command: Sequence[str],
    state: StateFolder,
    *,
    environment: Mapping[str, str],
    within_seconds: float,
    relay: Callable[[str], None],
) -> None:
    """Run `command`, a foreground supervisor, in a session of its own; return when it says that all is ready.

    What it prints meanwhile goes to `relay` line by line. Raises NotReady when it fails or takes too long; it
    is stopped then.
    """
    state.create()
    state.bound_log(SUPERVISOR_LOG)
    log_path = state.get_log_path(SUPERVISOR_LOG)
    with log_path.open("ab") as log:
        start_of_output = log.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(environment),
            start_new_session=True,
        )
    deadline = time.monotonic() + within_seconds
    try:
        with log_path.open(encoding="utf-8", errors="replace") as output:
            output.seek(start_of_output)
            while True:
                status = process.poll()
                _relay_lines(output.read(), relay)
                if status is not None:
                    raise NotReady(f"the supervisor ended with status {status}; see {log_path}")
                supervisor = find_supervisor(state)
                if supervisor is not None and supervisor.pid == process.pid and supervisor.phase is Phase.READY:
                    return
                if time.monotonic() >= deadline:
                    raise NotReady(f"not ready within {within_seconds:.0f} s; see {log_path}")
                time.sleep(POLL_SECONDS)
    except BaseException:
        process.terminate()
        raise


def _relay_lines(text: str, relay: Callable[[str], None]) -> None:
    for line in text.splitlines():
        relay(line)


def wait_until_ready(state: StateFolder, *, within_seconds: float) -> None:
    """For a cluster that somebody else is starting. Raises NotReady."""
    deadline = time.monotonic() + within_seconds
    while True:
        supervisor = find_supervisor(state)
        if supervisor is not None and supervisor.phase is Phase.READY:
            return
        if supervisor is None or time.monotonic() >= deadline:
            raise NotReady("the cluster that was being started did not become ready")
        time.sleep(POLL_SECONDS)


def stop_cluster(state: StateFolder, *, within_seconds: float) -> StopResult:
    """Ask the supervisor to stop, kill it when it does not within the time, then end whatever is left."""
    if not state.run.exists():
        return StopResult(was_running=False, leftovers=())
    supervisor = find_supervisor(state)
    if supervisor is not None:
        _end_supervisor(supervisor, within_seconds=within_seconds)
    lock = ClusterLock(state)
    _acquire_soon(lock)
    leftovers = end_leftovers(state)
    lock.release()
    state.supervisor_file.unlink(missing_ok=True)
    return StopResult(was_running=supervisor is not None, leftovers=tuple(leftovers))


def purge(state: StateFolder) -> None:
    """Remove all that the cluster kept: data, secrets, logs. Only after `stop_cluster`."""
    remove_moved(state)
    if state.root.exists():
        shutil.rmtree(state.root)


def _end_supervisor(supervisor: SupervisorRecord, *, within_seconds: float) -> None:
    process = ProcessIdentity(supervisor.pid, supervisor.created_at_seconds).find()
    if process is None:
        return
    try:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=within_seconds)
    except psutil.TimeoutExpired:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _acquire_soon(lock: ClusterLock) -> None:
    """A supervisor that has just ended may still hold the lock for a moment."""
    deadline = time.monotonic() + KILLED_SUPERVISOR_SECONDS
    while True:
        try:
            lock.acquire()
            return
        except AlreadyRunning:
            if time.monotonic() >= deadline:
                raise
            time.sleep(POLL_SECONDS)
