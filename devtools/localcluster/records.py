"""Cleans up after an unclean stop: reads the records of processes and ends those that still run.

After a `kill -9` of the supervisor its children get a signal (see `process`). This ends them for certain, also where
the kernel sends none or a process was frozen, before a server is started on the same data.
"""

import signal
import time
from dataclasses import dataclass
from signal import Signals

import psutil

from devtools.localcluster.member import Record
from devtools.localcluster.process import ProcessIdentity, find_group_members, find_tree, send_signal
from devtools.localcluster.state import StateFolder, read_json

LEAVE_SECONDS = 15.0
KILL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Leftover:
    """Processes of one record, its own first if it lives."""

    record: Record
    processes: tuple[psutil.Process, ...]


def read_records(state: StateFolder) -> list[Record]:
    """The records on disk by name, whether or not their processes live."""
    contents = (read_json(path) for path in sorted(state.run.glob("*.pid.json")))
    return [Record(**content) for content in contents if isinstance(content, dict)]


def find_process(record: Record) -> psutil.Process | None:
    return ProcessIdentity(pid=record.pid, created_at_seconds=record.created_at_seconds).find()


def end_leftovers(state: StateFolder) -> list[str]:
    """End the processes of earlier runs and delete their records; returns the names of members found alive.

    The caller holds the state folder's lock, so no other supervisor's processes are recorded.
    """
    leftovers = [Leftover(record, _find_processes(record, state)) for record in read_records(state)]
    alive = [leftover for leftover in leftovers if leftover.processes]
    deadline = time.monotonic() + LEAVE_SECONDS
    for leftover in alive:
        send_signal(leftover.processes, signal.SIGCONT)
        send_signal(leftover.processes[:1], Signals(leftover.record.death_signal))
    everything = [process for leftover in alive for process in leftover.processes]
    _, stubborn = psutil.wait_procs(everything, timeout=max(0.0, deadline - time.monotonic()))
    send_signal(stubborn, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=KILL_SECONDS)
    for path in state.run.glob("*.pid.json"):
        path.unlink(missing_ok=True)
    return [leftover.record.name for leftover in alive]


def _find_processes(record: Record, state: StateFolder) -> tuple[psutil.Process, ...]:
    process = find_process(record)
    if process is not None:
        return tuple(find_tree(process.pid))
    return tuple(find_group_members(record.pid, owner=str(state.root)))
