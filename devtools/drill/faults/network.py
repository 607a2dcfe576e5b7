"""Connections to a server that are cut, slow, or lose what passes."""

from collections.abc import Callable
from random import Random

from devtools.drill.errors import NoVictim
from devtools.drill.faults.processes import FindVictim
from devtools.drill.link import Link
from devtools.drill.site import FaultContext


class LinkFault:
    """`spoil` is what is done to everything that passes between one server and whoever uses it."""

    def __init__(
        self, site: FaultContext, find_victim: FindVictim, rng: Random, *, spoil: Callable[[Link], None]
    ) -> None:
        self._site = site
        self._find_victim = find_victim
        self._rng = rng
        self._spoil = spoil
        self._link: Link | None = None
        self._hurt_shard: str | None = None
        self.victim = ""
        self.shard: str | None = None

    def strike(self) -> None:
        hurt = self._find_victim(self._site, self._rng)
        link = self._link = self._site.links.find(hurt.name)
        if link is None:
            raise NoVictim(f"nothing lies between {hurt.name} and others")
        self.victim = f"the network to {hurt.name}"
        self._hurt_shard = hurt.shard
        self._spoil(link)

    def heal(self) -> None:
        if self._link is not None:
            self._link.mend()
        if self._hurt_shard is not None:
            shard = self._hurt_shard
            self._site.await_none(lambda: self._site.find_obstacle_of_shard(shard), what=shard)
