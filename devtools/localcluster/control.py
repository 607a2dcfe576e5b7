"""Controls a cluster from another process: start it in the background, stop it, delete its data."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from devtools.localcluster.errors import AlreadyRunning, NotReady
from devtools.localcluster.placement import remove_moved
from devtools.localcluster.process import ProcessIdentity
from devtools.localcluster.records import end_leftovers
from devtools.localcluster.state import PRIVATE_FILE, StateFolder, read_json
from devtools.localcluster.supervisor import ClusterLock, Phase, SupervisorRecord, find_supervisor

SUPERVISOR_LOG = "supervisor"
POLL_SECONDS = 0.05
KILLED_SUPERVISOR_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class StopResult:
    """`was_running`: whether a supervisor ran. `leftovers`: names of members that it had left running."""

    was_running: bool
    leftovers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DetachedSupervisor:
    """A supervisor in the background. `output_start`: offset of its output in its log."""

    process: subprocess.Popen[bytes]
    output_start: int


def spawn_detached(command: Sequence[str], state: StateFolder, *, environment: Mapping[str, str]) -> DetachedSupervisor:
    """Run `command`, a foreground supervisor, in a session of its own, its output appended to a log."""
    state.create()
    state.bound_log(SUPERVISOR_LOG)
    descriptor = os.open(state.get_log_path(SUPERVISOR_LOG), os.O_CREAT | os.O_APPEND | os.O_WRONLY, PRIVATE_FILE)
    with os.fdopen(descriptor, "ab") as log:
        output_start = log.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(environment),
            start_new_session=True,
        )
    return DetachedSupervisor(process, output_start)


def await_detached(
    supervisor: DetachedSupervisor, state: StateFolder, *, within_seconds: float, relay: Callable[[str], None]
) -> None:
    """Returns when the supervisor reports that all is ready. Its output goes to `relay` line by line.

    Raises NotReady when it fails or takes too long; the supervisor is then stopped.
    """
    log_path = state.get_log_path(SUPERVISOR_LOG)
    deadline = time.monotonic() + within_seconds
    process = supervisor.process
    try:
        with log_path.open(encoding="utf-8", errors="replace") as output:
            output.seek(supervisor.output_start)
            while True:
                status = process.poll()
                found = find_supervisor(state)
                is_ready = found is not None and found.pid == process.pid and found.phase is Phase.READY
                _relay_lines(output.read(), relay)  # after the look: all that was printed before it was ready
                if status is not None:
                    raise NotReady(f"the supervisor ended with status {status}; see {log_path}")
                if is_ready:
                    return
                if time.monotonic() >= deadline:
                    raise NotReady(f"not ready within {within_seconds:.0f} s; see {log_path}")
                time.sleep(POLL_SECONDS)
    except BaseException:
        process.terminate()
        raise


def find_web_url(state: StateFolder) -> str:
    """The URL of the gateway of a running cluster. Raises NotReady."""
    layout = read_json(state.layout_file)
    if not isinstance(layout, dict):
        raise NotReady(f"there is no {state.layout_file}")
    return str(layout["web_url"])


def _relay_lines(text: str, relay: Callable[[str], None]) -> None:
    for line in text.splitlines():
        relay(line)


def wait_until_ready(state: StateFolder, *, within_seconds: float) -> None:
    """Wait for a cluster that another process is starting. Raises NotReady."""
    deadline = time.monotonic() + within_seconds
    while True:
        supervisor = find_supervisor(state)
        if supervisor is not None and supervisor.phase is Phase.READY:
            return
        if supervisor is None or time.monotonic() >= deadline:
            raise NotReady("the starting cluster did not become ready")
        time.sleep(POLL_SECONDS)


def stop_cluster(state: StateFolder, *, within_seconds: float) -> StopResult:
    """Tell the supervisor to stop, kill it after the time limit, then end all remaining processes."""
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
    """Delete all files of the cluster: data, secrets, logs. Only after `stop_cluster`."""
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
    """Retries for a moment: a supervisor that has just ended may still hold the lock."""
    deadline = time.monotonic() + KILLED_SUPERVISOR_SECONDS
    while True:
        try:
            lock.acquire()
            return
        except AlreadyRunning:
            if time.monotonic() >= deadline:
                raise
            time.sleep(POLL_SECONDS)
