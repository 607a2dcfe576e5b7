"""A disk that is full for a while."""

from devtools.drill.errors import NoVictim
from devtools.drill.site import FaultContext


class FullDisk:
    """Of one server, known when the drill begins: its data lie on a small disk from the start."""

    shard: str | None = None

    def __init__(self, site: FaultContext, *, server: str) -> None:
        self._site = site
        self._server = server
        self.victim = f"the disk of {server}"

    def strike(self) -> None:
        if self._server not in self._site.disks:
            raise NoVictim(f"{self._server} has no small disk")
        self._site.disks[self._server].fill()

    def heal(self) -> None:
        self._site.disks[self._server].free()
        self._site.await_none(self._find_obstacle, what=self._server)

    def _find_obstacle(self) -> str | None:
        site, server = self._site, self._site.cluster.server(self._server)
        if not server.is_running:
            return "it does not run"
        shards = [name for name, servers in site.cluster.layout.shards.items() if server in servers]
        return server.find_obstacle() or (site.find_obstacle_of_shard(shards[0]) if shards else None)
