"""A primary that dies while partitions move to or from its shard."""

import signal
import subprocess
import sys
import time
from random import Random

from localcluster import LocalCluster
from localcluster.errors import NotReady
from localcluster.process import OWNER_VARIABLE, Launch, start
from viewcounter.config.kinds import PROJECT_ROOT
from viewcounter.operations.drill.faults.processes import Kill, Victim
from viewcounter.operations.drill.site import Site

MOVED_COUNT = 2
MOVE_SECONDS = 180.0
RESUMES_MAX = 3
BEGINNING_SECONDS = (2.0, 5.0)
"""A mover needs about two seconds to start; what it is doing when the primary dies is left to chance."""


class KillInMove:
    """Partitions move between shards by `manage.py move_partitions`; the primary of either one dies meanwhile."""

    def __init__(self, site: Site, rng: Random) -> None:
        self._site = site
        self._rng = rng
        self._mover: subprocess.Popen[str] | None = None
        self._kill: Kill | None = None
        self.victim = ""
        self.shard: str | None = None

    def strike(self) -> None:
        site, rng = self._site, self._rng
        source, target = rng.sample(sorted(site.cluster.layout.shards), 2)
        count = str(MOVED_COUNT)
        arguments = ["move_partitions", "--from", source, "--to", target, "--count", count, "--yes", "--json"]
        self._mover = _start(site.cluster, *arguments)
        time.sleep(rng.uniform(*BEGINNING_SECONDS))
        self.shard = rng.choice([source, target])
        primary = site.get_primary(self.shard)
        victim = Victim(primary.name, primary, primary.pid, self.shard, is_primary=True)
        self._kill = Kill(site, lambda _site, _rng: victim, rng)
        self._kill.strike()
        self.victim = f"{primary.name}, partitions moving from {source} to {target}"

    def heal(self) -> None:
        """Moves that were given up on the way are taken up again, as an operator would."""
        if self._kill is not None:
            self._kill.heal()
        if self._mover is None:
            return
        ended, said = _await_end(self._mover)
        for _ in range(RESUMES_MAX):
            if ended == 0:
                return
            ended, said = _await_end(_start(self._site.cluster, "moves", "resume", "--json"))
        raise NotReady(f"the moves did not end: {said}")


def _start(cluster: LocalCluster, *arguments: str) -> subprocess.Popen[str]:
    launch = Launch(
        argv=(sys.executable, "manage.py", *arguments),
        cwd=PROJECT_ROOT,
        environment=cluster.environment | {OWNER_VARIABLE: str(cluster.state.root)},
        death_signal=signal.SIGTERM,
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
