"""Faults while partitions move: a primary dies, or movers are frozen while others finish their moves."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from random import Random
from typing import Any

import psycopg

from devtools.drill.context import FaultContext
from devtools.drill.errors import NoVictim
from devtools.drill.faults.processes import KillFault, Victim
from devtools.localcluster import LocalCluster
from devtools.localcluster.errors import NotReady
from devtools.localcluster.process import OWNER_VARIABLE, Launch, start
from devtools.localcluster.spec import SUPERUSER_ROLE
from viewcounter.config.project import PROJECT_ROOT

MOVED_COUNT = 2
MOVE_SECONDS = 180.0
AGAIN_SECONDS = 1.0
BEGINNING_SECONDS = (2.0, 5.0)
"""A mover needs about two seconds to start; its step when the primary dies is random."""
SLEEPERS_MAX = 3
STEPS = ("copying", "catching_up", "verified", "held", "activated", "flipped", "released")
INTO_STEP_SECONDS = (0.0, 0.03)
"""A step of a small partition takes some tens of milliseconds; the moment within it is random."""
POLL_SECONDS = 0.005
_LIST_PARTITIONS = (
    "SELECT assignment.partition FROM configservice_partitionassignment AS assignment"
    " JOIN configservice_shard AS shard ON shard.id = assignment.shard_id WHERE shard.name = %s ORDER BY 1"
)
_FIND_LAST_MOVE = "SELECT coalesce(max(id), 0) FROM configservice_move"
_FIND_STATE = "SELECT state FROM configservice_move WHERE partition = %s AND id > %s ORDER BY id DESC LIMIT 1"


class KillInMove:
    """Partitions move between shards by `manage.py move_partitions`; the primary of either one dies meanwhile."""

    def __init__(self, context: FaultContext, rng: Random) -> None:
        self._context = context
        self._rng = rng
        self._mover: subprocess.Popen[str] | None = None
        self._kill: KillFault | None = None
        self.victim = ""
        self.shard: str | None = None

    def strike(self) -> None:
        context, rng = self._context, self._rng
        source, target = rng.sample(sorted(context.cluster.layout.shards), 2)
        self._mover = _start(context.cluster, *_plan_command(source, target, "--count", str(MOVED_COUNT)))
        time.sleep(rng.uniform(*BEGINNING_SECONDS))
        self.shard = rng.choice([source, target])
        primary = context.get_primary(self.shard)
        victim = Victim(primary.name, primary, primary.pid, self.shard, stops_writes=True)
        self._kill = KillFault(context, lambda _context, _rng: victim, rng)
        self._kill.strike()
        self.victim = f"{primary.name}, partitions moving from {source} to {target}"

    def heal(self) -> None:
        """Resumes moves that were given up, as an operator would."""
        if self._kill is not None:
            self._kill.heal()
        if self._mover is None:
            return
        ended, said = _await_end(self._mover)
        give_up_at = time.monotonic() + MOVE_SECONDS
        while ended != 0 and time.monotonic() < give_up_at:
            time.sleep(AGAIN_SECONDS)
            ended, said = _await_end(_start(self._context.cluster, "moves", "resume", "--json"))
        if ended == 0:
            return
        raise NotReady(f"the moves did not end: {said}")


class FreezeMovers:
    """Each of several movers is frozen at another step of its move. Others finish the moves and move the partitions
    back; then the frozen movers wake, and must change nothing."""

    def __init__(self, context: FaultContext, rng: Random) -> None:
        self._context = context
        self._rng = rng
        self._source = self._target = ""
        self._sleepers: dict[int, subprocess.Popen[str]] = {}
        """Frozen movers by partition."""
        self.victim = ""
        self.shard: str | None = None

    def strike(self) -> None:
        context, rng = self._context, self._rng
        self._source, self._target = rng.sample(sorted(context.cluster.layout.shards), 2)
        partitions = [row[0] for row in self._ask(_LIST_PARTITIONS, self._source)]
        chosen = rng.sample(partitions, min(SLEEPERS_MAX, len(partitions)))
        steps = rng.sample(STEPS, len(chosen))
        pauses = [rng.uniform(*INTO_STEP_SECONDS) for _ in chosen]
        last_move = self._ask(_FIND_LAST_MOVE)[0][0]
        for partition in chosen:
            arguments = _plan_command(self._source, self._target, "--partitions", str(partition))
            self._sleepers[partition] = _start(context.cluster, *arguments, death_signal=signal.SIGKILL)
        with ThreadPoolExecutor(len(chosen)) as pool:
            frozen = list(pool.map(self._freeze, chosen, steps, pauses, repeat(last_move)))
        if not any(frozen):
            raise NoVictim("no mover was frozen in a step")
        self.victim = f"movers from {self._source} to {self._target}: {', '.join(filter(None, frozen))}"

    def heal(self) -> None:
        """Raises NotReady."""
        try:
            self._move_back()
            for process in self._sleepers.values():
                process.send_signal(signal.SIGCONT)
            for partition, process in self._sleepers.items():
                ended, said = _await_end(process)
                if ended < 0:
                    raise NotReady(f"the mover of partition {partition} that was frozen failed: {said}")
        finally:
            self._kill()

    def _freeze(self, partition: int, step: str, pause_seconds: float, last_move: int) -> str:
        """Freeze the mover when its move has reached the step. Returns its state then; empty if the move had ended."""
        process = self._sleepers[partition]
        give_up_at = time.monotonic() + MOVE_SECONDS
        with self._context.get_control().session(user=SUPERUSER_ROLE) as connection:
            while time.monotonic() < give_up_at and process.poll() is None:
                row = connection.execute(_FIND_STATE, (partition, last_move)).fetchone()
                if row is not None and row[0] not in ("planned", *STEPS[: STEPS.index(step)]):
                    time.sleep(pause_seconds)
                    process.send_signal(signal.SIGSTOP)
                    return f"partition {partition} {row[0]}"
                time.sleep(POLL_SECONDS)
        return ""

    def _move_back(self) -> None:
        """Move the partitions back once the leases of the frozen movers have expired; those of moves that were given up
        are here already.

        Another fault may kill the control database, and with it a command, meanwhile: then the command is repeated.
        """
        give_up_at = time.monotonic() + MOVE_SECONDS
        said = ""
        while time.monotonic() < give_up_at:
            ended, said = _await_end(_start(self._context.cluster, "moves", "resume", "--json"))
            left = self._find_away() if ended == 0 else None
            if left:
                arguments = _plan_command(self._target, self._source, "--partitions", ",".join(map(str, left)))
                ended, said = _await_end(_start(self._context.cluster, *arguments))
                left = [] if ended == 0 else left
            if left == []:
                return
            time.sleep(AGAIN_SECONDS)
        raise NotReady(f"partitions {sorted(self._sleepers)} were not moved back: {said}")

    def _find_away(self) -> list[int] | None:
        """Partitions that have not come back; None while the control database does not answer."""
        try:
            here = {row[0] for row in self._ask(_LIST_PARTITIONS, self._source)}
        except (psycopg.Error, NotReady):
            return None
        return sorted(self._sleepers.keys() - here)

    def _ask(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self._context.get_control().session(user=SUPERUSER_ROLE) as connection:
            return connection.execute(statement, parameters).fetchall()

    def _kill(self) -> None:
        for process in self._sleepers.values():
            if process.poll() is None:
                process.kill()
                process.communicate()


def _plan_command(source: str, target: str, *which: str) -> list[str]:
    return ["move_partitions", "--from", source, "--to", target, *which, "--yes", "--json"]


def _start(
    cluster: LocalCluster, *arguments: str, death_signal: signal.Signals = signal.SIGTERM
) -> subprocess.Popen[str]:
    """`death_signal` ends the command when this process dies: a frozen one reacts to SIGKILL only."""
    launch = Launch(
        argv=(sys.executable, "manage.py", *arguments),
        cwd=PROJECT_ROOT,
        environment=cluster.environment | {OWNER_VARIABLE: str(cluster.state.root)},
        death_signal=death_signal,
    )
    return start(launch, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _await_end(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        out, err = process.communicate(timeout=MOVE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return -1, f"no end within {MOVE_SECONDS:.0f} s"
    return process.returncode, (err + out)[-500:]
