"""What happens while partitions move: a primary dies, or movers sleep through what others do in their place."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from random import Random
from typing import Any

import psycopg

from devtools.drill.errors import NoVictim
from devtools.drill.faults.processes import KillFault, Victim
from devtools.drill.site import FaultContext
from devtools.localcluster import LocalCluster
from devtools.localcluster.errors import NotReady
from devtools.localcluster.process import OWNER_VARIABLE, Launch, start
from devtools.localcluster.spec import SUPERUSER_ROLE
from viewcounter.config.kinds import PROJECT_ROOT

MOVED_COUNT = 2
MOVE_SECONDS = 180.0
AGAIN_SECONDS = 1.0
BEGINNING_SECONDS = (2.0, 5.0)
"""A mover needs about two seconds to start; what it is doing when the primary dies is left to chance."""
SLEEPERS_MAX = 3
STEPS = ("copying", "catching_up", "verified", "held", "activated", "flipped", "released")
INTO_STEP_SECONDS = (0.0, 0.03)
"""A step of a small partition takes some tens of milliseconds; what of it is hit is left to chance."""
POLL_SECONDS = 0.005
_LIST_PARTITIONS = (
    "SELECT assignment.partition FROM configservice_partitionassignment AS assignment"
    " JOIN configservice_shard AS shard ON shard.id = assignment.shard_id WHERE shard.name = %s ORDER BY 1"
)
_FIND_LAST_MOVE = "SELECT coalesce(max(id), 0) FROM configservice_move"
_FIND_STATE = "SELECT state FROM configservice_move WHERE partition = %s AND id > %s ORDER BY id DESC LIMIT 1"


class KillInMove:
    """Partitions move between shards by `manage.py move_partitions`; the primary of either one dies meanwhile."""

    def __init__(self, site: FaultContext, rng: Random) -> None:
        self._site = site
        self._rng = rng
        self._mover: subprocess.Popen[str] | None = None
        self._kill: KillFault | None = None
        self.victim = ""
        self.shard: str | None = None

    def strike(self) -> None:
        site, rng = self._site, self._rng
        source, target = rng.sample(sorted(site.cluster.layout.shards), 2)
        self._mover = _start(site.cluster, *_plan_command(source, target, "--count", str(MOVED_COUNT)))
        time.sleep(rng.uniform(*BEGINNING_SECONDS))
        self.shard = rng.choice([source, target])
        primary = site.get_primary(self.shard)
        victim = Victim(primary.name, primary, primary.pid, self.shard, is_primary=True)
        self._kill = KillFault(site, lambda _site, _rng: victim, rng)
        self._kill.strike()
        self.victim = f"{primary.name}, partitions moving from {source} to {target}"

    def heal(self) -> None:
        """Moves that were given up on the way are taken up again, as an operator would."""
        if self._kill is not None:
            self._kill.heal()
        if self._mover is None:
            return
        ended, said = _await_end(self._mover)
        give_up_at = time.monotonic() + MOVE_SECONDS
        while ended != 0 and time.monotonic() < give_up_at:
            time.sleep(AGAIN_SECONDS)
            ended, said = _await_end(_start(self._site.cluster, "moves", "resume", "--json"))
        if ended == 0:
            return
        raise NotReady(f"the moves did not end: {said}")


class FreezeMovers:
    """Each of several movers is frozen at another step of its move. Others finish the moves and bring the partitions
    back; then those that were frozen wake, and must find that there is nothing left for them to do."""

    def __init__(self, site: FaultContext, rng: Random) -> None:
        self._site = site
        self._rng = rng
        self._source = self._target = ""
        self._sleepers: dict[int, subprocess.Popen[str]] = {}
        """By partition."""
        self.victim = ""
        self.shard: str | None = None

    def strike(self) -> None:
        site, rng = self._site, self._rng
        self._source, self._target = rng.sample(sorted(site.cluster.layout.shards), 2)
        partitions = [row[0] for row in self._ask(_LIST_PARTITIONS, self._source)]
        chosen = rng.sample(partitions, min(SLEEPERS_MAX, len(partitions)))
        steps = rng.sample(STEPS, len(chosen))
        pauses = [rng.uniform(*INTO_STEP_SECONDS) for _ in chosen]
        last_move = self._ask(_FIND_LAST_MOVE)[0][0]
        for partition in chosen:
            arguments = _plan_command(self._source, self._target, "--partitions", str(partition))
            self._sleepers[partition] = _start(site.cluster, *arguments, death_signal=signal.SIGKILL)
        with ThreadPoolExecutor(len(chosen)) as pool:
            frozen = list(pool.map(self._freeze, chosen, steps, pauses, repeat(last_move)))
        if not any(frozen):
            raise NoVictim("no mover was caught at work")
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
                    raise NotReady(f"the mover of partition {partition} that slept did not end well: {said}")
        finally:
            self._kill()

    def _freeze(self, partition: int, step: str, pause_seconds: float, last_move: int) -> str:
        """When its move is at the step, or past it. Where it was then; nothing for one that was at its end by then."""
        process = self._sleepers[partition]
        give_up_at = time.monotonic() + MOVE_SECONDS
        with self._site.get_control().session(user=SUPERUSER_ROLE) as connection:
            while time.monotonic() < give_up_at and process.poll() is None:
                row = connection.execute(_FIND_STATE, (partition, last_move)).fetchone()
                if row is not None and row[0] not in ("planned", *STEPS[: STEPS.index(step)]):
                    time.sleep(pause_seconds)
                    process.send_signal(signal.SIGSTOP)
                    return f"partition {partition} {row[0]}"
                time.sleep(POLL_SECONDS)
        return ""

    def _move_back(self) -> None:
        """As soon as the leases of those that sleep are over; a move that was given up has left its partition here.

        Another fault may end the control database meanwhile, and a command with it: then both are asked for again.
        """
        give_up_at = time.monotonic() + MOVE_SECONDS
        said = ""
        while time.monotonic() < give_up_at:
            ended, said = _await_end(_start(self._site.cluster, "moves", "resume", "--json"))
            left = self._find_away() if ended == 0 else None
            if left:
                arguments = _plan_command(self._target, self._source, "--partitions", ",".join(map(str, left)))
                ended, said = _await_end(_start(self._site.cluster, *arguments))
                left = [] if ended == 0 else left
            if left == []:
                return
            time.sleep(AGAIN_SECONDS)
        raise NotReady(f"partitions {sorted(self._sleepers)} were not moved back: {said}")

    def _find_away(self) -> list[int] | None:
        """Partitions that have not come back; None while the control database does not say."""
        try:
            here = {row[0] for row in self._ask(_LIST_PARTITIONS, self._source)}
        except (psycopg.Error, NotReady):
            return None
        return sorted(self._sleepers.keys() - here)

    def _ask(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self._site.get_control().session(user=SUPERUSER_ROLE) as connection:
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
    """Ends with us, by that signal: one that sleeps hears no other than SIGKILL."""
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
