"""Network faults: connections to a server that are cut, slow or lossy."""

from collections.abc import Callable
from random import Random

from devtools.drill.context import FaultContext
from devtools.drill.errors import NoVictim
from devtools.drill.faults.processes import FindVictim
from devtools.drill.tcp_proxy import TcpProxy


class ProxyFault:
    """`impair` impairs the TCP proxy between one server and its clients."""

    def __init__(
        self, context: FaultContext, find_victim: FindVictim, rng: Random, *, impair: Callable[[TcpProxy], None]
    ) -> None:
        self._context = context
        self._find_victim = find_victim
        self._rng = rng
        self._impair = impair
        self._proxy: TcpProxy | None = None
        self._hurt_shard: str | None = None
        self.victim = ""
        self.shard: str | None = None

    def strike(self) -> None:
        hurt = self._find_victim(self._context, self._rng)
        proxy = self._proxy = self._context.proxies.find(hurt.name)
        if proxy is None:
            raise NoVictim(f"there is no TCP proxy in front of {hurt.name}")
        self.victim = f"the network to {hurt.name}"
        self._hurt_shard = hurt.shard
        self._impair(proxy)

    def heal(self) -> None:
        if self._proxy is not None:
            self._proxy.restore()
        if self._hurt_shard is not None:
            shard = self._hurt_shard
            self._context.await_none(lambda: self._context.find_obstacle_of_shard(shard), what=shard)
