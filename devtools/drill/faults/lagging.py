"""A primary that dies seconds ahead of its asynchronous replica: its last commits are lost."""

import time
from random import Random

from devtools.drill.context import FaultContext
from devtools.drill.faults.processes import KillFault, Victim
from devtools.drill.tcp_proxy import TcpProxy
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.spec import SUPERUSER_ROLE

BEHIND_SECONDS = 4.0
STREAMING_SECONDS = 30.0


class KillAhead:
    """The replica's stream is held for some seconds, then the primary dies. The event log must have the lost events."""

    def __init__(self, context: FaultContext, rng: Random) -> None:
        self._context = context
        self._rng = rng
        self._proxy: TcpProxy | None = None
        self._kill: KillFault | None = None
        self.victim = ""
        self.shard: str | None = None

    def strike(self) -> None:
        context = self._context
        shard = self.shard = context.choose_shard(self._rng)
        primary, replica = context.get_primary(shard), context.get_replica(shard, self._rng)
        self._proxy = follow_through(context, primary, replica)
        self._proxy.hold()
        time.sleep(BEHIND_SECONDS)
        victim = Victim(primary.name, primary, primary.pid, shard, stops_writes=True)
        self._kill = KillFault(context, lambda _context, _rng: victim, self._rng)
        self._kill.strike()
        self.victim = primary.name

    def heal(self) -> None:
        if self._proxy is not None:
            self._proxy.restore()
        if self._kill is not None:
            self._kill.heal()


def follow_through(context: FaultContext, primary: PostgresServer, replica: PostgresServer) -> TcpProxy:
    """The replica streams through a proxy, which can hold the stream. Raises NotReady."""
    proxy = context.proxies.open(f"the stream from {primary.name}", primary.port)
    _set_port(replica, proxy)
    context.await_none(
        lambda: _find_other_port(replica, proxy),
        what=f"{replica.name} to stream through a proxy",
        seconds=STREAMING_SECONDS,
    )
    return proxy


def _set_port(replica: PostgresServer, proxy: TcpProxy) -> None:
    """Set another port in `primary_conninfo`, as an operator would."""
    with replica.session(user=SUPERUSER_ROLE) as connection:
        row = connection.execute("SELECT current_setting('primary_conninfo')").fetchone()
        parts = (row[0] if row else "").split()
        through = " ".join(f"port={proxy.port}" if part.startswith("port=") else part for part in parts)
        connection.execute(f"ALTER SYSTEM SET primary_conninfo = '{through}'".encode())
        connection.execute("SELECT pg_reload_conf()")


def _find_other_port(replica: PostgresServer, proxy: TcpProxy) -> str | None:
    with replica.session(user=SUPERUSER_ROLE) as connection:
        row = connection.execute("SELECT status, sender_port FROM pg_stat_wal_receiver").fetchone()
    return None if row == ("streaming", proxy.port) else f"it follows by {row}"
