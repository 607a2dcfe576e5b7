"""A shard whose servers are all frozen, so that nobody can take over: the other shards must not notice."""

import time
from contextlib import suppress
from random import Random

import psutil

from devtools.drill.context import FaultContext
from devtools.drill.errors import NotFresh
from devtools.drill.freshness import find_median_age
from devtools.localcluster.errors import NotReady

BEFORE_SECONDS = 5.0
"""Age of the others' events is compared with that of this time before the strike."""
DELAY_MAX_SECONDS = 0.2


class FrozenShard:
    """SIGSTOP, then SIGCONT, of every server of one shard."""

    shard: str | None = None

    def __init__(self, context: FaultContext, rng: Random) -> None:
        self._context = context
        self._shard = context.choose_shard(rng)
        self._struck_at = 0.0
        self.victim = self._shard

    def strike(self) -> None:
        self._struck_at = time.monotonic()
        for server in self._context.cluster.layout.shards[self._shard]:
            server.pause()

    def heal(self) -> None:
        context, until = self._context, time.monotonic()
        for server in context.cluster.layout.shards[self._shard]:
            with suppress(NotReady, psutil.NoSuchProcess):
                server.resume()
        context.await_none(lambda: context.find_obstacle_of_shard(self._shard), what=self._shard)
        self._compare_others(until)

    def _compare_others(self, until: float) -> None:
        """Raises NotFresh."""
        others = [shard for shard in self._context.cluster.layout.shards if shard != self._shard]
        read = self._context.freshness.read
        before = find_median_age(read(others, since=self._struck_at - BEFORE_SECONDS, until=self._struck_at))
        during = find_median_age(read(others, since=self._struck_at, until=until))
        if before is None or during is None:
            raise NotFresh(f"the age of events of the shards beside {self._shard} is unknown")
        if during > before + DELAY_MAX_SECONDS:
            raise NotFresh(
                f"while {self._shard} was frozen, events of the other shards were counted {during:.2f} s after their "
                f"acknowledgement, before {before:.2f} s"
            )
