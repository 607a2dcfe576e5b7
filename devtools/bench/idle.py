"""Part `idle`: the cost of a cluster without events, started as an operator starts it (`manage.py up`).

Every process below the supervisor counts, each under its member of the cluster. Tasks with an interval above the
measured time (retention, audits) may not run in it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from devtools.bench.defaults import TITLES
from devtools.bench.errors import BenchStepFailed
from devtools.bench.idle_report import MemberCost, describe_idle
from devtools.bench.part import BenchContext
from devtools.bench.report import PartReport
from devtools.localcluster.applications import PROJECT_ROOT, build_child_environment
from devtools.localcluster.records import find_process, read_records
from devtools.localcluster.state import STATE_DIR_VARIABLE, StateFolder
from devtools.localcluster.supervisor import find_supervisor
from devtools.localcluster.temporary import create_temporary_state_dir

UP_SECONDS = 300.0
SUPERVISOR = "supervisor"
SERVERS = frozenset({"postgres", "valkey"})
"""Kinds of members that are servers; every other process is ours."""


@dataclass(frozen=True, slots=True)
class IdlePlan:
    """`settle_seconds`: after the start, until it is measured."""

    settle_seconds: float
    measured_seconds: float


FULL = IdlePlan(settle_seconds=60.0, measured_seconds=120.0)
QUICK = IdlePlan(settle_seconds=3.0, measured_seconds=10.0)


@dataclass(frozen=True, slots=True)
class _Reading:
    """`at`: monotonic clock. `cpu_seconds`: since the start of each member's processes."""

    at: float
    cpu_seconds: Mapping[str, float]
    log_bytes: int


class IdlePart:
    name = "idle"
    title = TITLES[name]

    def run(self, context: BenchContext) -> PartReport:
        plan = QUICK if context.quick else FULL
        context.clusters.close()  # no other server may run beside the measured ones
        with _run_up() as state:
            _pause("letting an idle cluster settle", plan.settle_seconds, context)
            rounds = []
            for _ in range(context.rounds):
                rounds.append(_measure(state, plan.measured_seconds, context))
        return describe_idle(self.name, self.title, [costs for costs, _ in rounds], [log for _, log in rounds])


@contextmanager
def _run_up() -> Iterator[StateFolder]:
    """A cluster of the default shape in a folder of its own, run by `manage.py up`. Raises BenchStepFailed."""
    with create_temporary_state_dir() as state_dir:
        state = StateFolder(state_dir)
        own = {STATE_DIR_VARIABLE: str(state_dir)}
        environment = build_child_environment(own, outer=os.environ, env_file=state.environment_file)
        _run(environment, "-m", "devtools.localcluster", str(state_dir))
        _run(environment, "manage.py", "up", "--detach")
        yield state


def _run(environment: Mapping[str, str], *arguments: str) -> None:
    """As the scripts in `bin/` run it. Raises BenchStepFailed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT_ROOT,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=UP_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise BenchStepFailed(f"{' '.join(arguments)} ended with status {done.returncode}: {done.stderr[-2000:]}")


def _measure(state: StateFolder, seconds: float, context: BenchContext) -> tuple[dict[str, MemberCost], float]:
    """Costs by member, and bytes logged a day by all of them."""
    before = _read(state)
    _pause("measuring an idle cluster", seconds, context)
    after = _read(state)
    elapsed = after.at - before.at
    members = _find_members(state)
    costs = {
        name: MemberCost(
            is_server=kind in SERVERS,
            process_count=len(processes),
            cpu_seconds_a_minute=round((after.cpu_seconds[name] - before.cpu_seconds[name]) * 60 / elapsed, 3),
            pss_bytes=sum(_read_pss(process) for process in processes),
        )
        for name, (kind, processes) in members.items()
    }
    return costs, (after.log_bytes - before.log_bytes) * 86_400 / elapsed


def _read(state: StateFolder) -> _Reading:
    cpu_seconds = {name: sum(map(_read_cpu, processes)) for name, (_, processes) in _find_members(state).items()}
    return _Reading(time.monotonic(), cpu_seconds, _count_bytes(state.logs))


def _find_members(state: StateFolder) -> dict[str, tuple[str, list[psutil.Process]]]:
    """Kind and process tree of each member by name, and the supervisor alone. Raises BenchStepFailed."""
    supervisor = find_supervisor(state)
    if supervisor is None:
        raise BenchStepFailed("the supervisor of the idle cluster has ended")
    members = {SUPERVISOR: (SUPERVISOR, [psutil.Process(supervisor.pid)])}
    for record in read_records(state):
        root = find_process(record)
        if root is None:
            raise BenchStepFailed(f"{record.name} of the idle cluster has ended")
        members[record.name] = (record.kind, [root, *root.children(recursive=True)])
    return members


def _read_cpu(process: psutil.Process) -> float:
    """With its reaped children, such as autovacuum workers of a postmaster; 0 once it has ended."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _read_pss(process: psutil.Process) -> int:
    """Memory of a process, of shared pages its share."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0


def _count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _pause(what: str, seconds: float, context: BenchContext) -> None:
    context.on_progress(what, 0, round(seconds))
    time.sleep(seconds)
    context.on_progress(what, round(seconds), round(seconds))
