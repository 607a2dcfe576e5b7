"""A full disk."""

from devtools.drill.context import FaultContext
from devtools.drill.errors import NoVictim


class FullDisk:
    """The disk of one server is full. The server is fixed before the drill: its data are on a small disk from the
    start."""

    shard: str | None = None

    def __init__(self, context: FaultContext, *, server: str) -> None:
        self._context = context
        self._server = server
        self.victim = f"the disk of {server}"

    def strike(self) -> None:
        if self._server not in self._context.disks:
            raise NoVictim(f"{self._server} has no small disk")
        self._context.disks[self._server].fill()

    def heal(self) -> None:
        self._context.disks[self._server].free()
        self._context.await_none(self._find_obstacle, what=self._server)

    def _find_obstacle(self) -> str | None:
        context, server = self._context, self._context.cluster.server(self._server)
        if not server.is_running:
            return "the server does not run"
        shards = [name for name, servers in context.cluster.layout.shards.items() if server in servers]
        return server.find_obstacle() or (context.find_obstacle_of_shard(shards[0]) if shards else None)
