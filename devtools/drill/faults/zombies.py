"""A worker that is frozen during a drain, and wakes when another one has applied the same range of the log."""

import os
import signal
import time
from random import Random

from devtools.drill.context import FaultContext
from devtools.drill.errors import NoVictim
from devtools.drill.faults.processes import Freeze, find_worker_process
from devtools.localcluster.errors import NotReady
from devtools.localcluster.spec import BROKER_SERVER
from viewcounter.processing.drain_queue import LEASES_OF_ANY_CLUSTER

CACHE_DATABASE = 1
DRAIN_SECONDS = 30.0
RETRY_SECONDS = 0.1
LOOK_SECONDS = 0.001
INTO_DRAIN_SECONDS = (0.0, 0.008)
"""A drain under steady load takes some ten milliseconds; the step in which it is frozen is random."""


class FreezeInDrain(Freeze):
    """Waits for the start of a drain, by its mark in the cache, and freezes a process in the middle of it."""

    def __init__(self, context: FaultContext, rng: Random) -> None:
        super().__init__(context, find_worker_process, rng)

    def strike(self) -> None:
        hurt = self._choose()
        self._await_drain()
        time.sleep(self._rng.uniform(*INTO_DRAIN_SECONDS))
        os.kill(hurt.pid, signal.SIGSTOP)

    def _await_drain(self) -> None:
        """Wait until a partition gets a new mark. The cache itself may be killed meanwhile."""
        give_up_at = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < give_up_at:
            try:
                if self._sees_drain_begin(give_up_at):
                    return
            except NotReady:
                time.sleep(RETRY_SECONDS)
        raise NoVictim("no drain has started")

    def _sees_drain_begin(self, give_up_at: float) -> bool:
        drained_before: set[bytes | str] | None = None
        with self._context.cluster.valkey(BROKER_SERVER).session(database=CACHE_DATABASE) as cache:
            while time.monotonic() < give_up_at:
                drained = set(cache.keys(LEASES_OF_ANY_CLUSTER))
                if drained_before is not None and drained - drained_before:
                    return True
                drained_before = drained
                time.sleep(LOOK_SECONDS)
        return False
