"""A worker that is frozen with a range of the log in its hand, and wakes when another one has applied it."""

import os
import signal
import time
from random import Random

from localcluster.spec import BROKER_SERVER
from viewcounter.operations.drill.errors import NoVictim
from viewcounter.operations.drill.faults.processes import Freeze, find_worker_process
from viewcounter.operations.drill.site import Site

CACHE_DATABASE = 1
DRAIN_SECONDS = 15.0
INTO_DRAIN_SECONDS = (0.0, 0.008)
"""A drain under steady load takes some ten milliseconds; which of its steps is hit is left to chance."""


class FreezeInDrain(Freeze):
    """Waits for a drain to begin, by its mark in the cache, and freezes a process in the middle of it."""

    def __init__(self, site: Site, rng: Random) -> None:
        super().__init__(site, find_worker_process, rng)

    def strike(self) -> None:
        hurt = self._choose()
        self._await_drain()
        time.sleep(self._rng.uniform(*INTO_DRAIN_SECONDS))
        os.kill(hurt.pid, signal.SIGSTOP)

    def _await_drain(self) -> None:
        """Until marks appear where a moment ago there was none."""
        marks = [f"drain:lease:{partition}" for partition in range(self._site.cluster.spec.partitions)]
        give_up_at, was_idle = time.monotonic() + DRAIN_SECONDS, False
        with self._site.cluster.valkey(BROKER_SERVER).connect(database=CACHE_DATABASE) as cache:
            while time.monotonic() < give_up_at:
                is_draining = any(mark is not None for mark in cache.mget(marks))
                if is_draining and was_idle:
                    return
                was_idle = was_idle or not is_draining
        raise NoVictim("no drain has begun")
