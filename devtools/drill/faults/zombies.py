"""A pull process that is frozen during a flush, and wakes when another one has applied the same range of the log."""

import os
import signal
import time
from contextlib import suppress
from random import Random

import psutil

from devtools.drill.context import FaultContext, list_pull_pids
from devtools.drill.errors import NoVictim
from devtools.drill.faults.processes import Freeze, Victim, find_pull_process
from devtools.localcluster.errors import NotReady
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.spec import WORKER

FLUSH_SECONDS = 30.0
RETRY_SECONDS = 0.1
LOOK_SECONDS = 0.001
INTO_FLUSH_SECONDS = (0.0, 0.008)
"""A flush under steady load takes some ten milliseconds; the step in which it is frozen is random."""
_FIND_FLUSHES = (
    "SELECT client_port FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name LIKE '% flush' AND state <> 'idle'"
)


class FreezeInFlush(Freeze):
    """Waits for the transaction of a flush on one shard, and freezes the process that runs it in the middle of it."""

    def __init__(self, context: FaultContext, rng: Random) -> None:
        super().__init__(context, find_pull_process, rng)

    def strike(self) -> None:
        context, member = self._context, self._context.cluster.application(WORKER)
        server = context.get_primary(context.choose_shard(self._rng))
        clients = _find_clients(list_pull_pids(member))
        port = self._await_flush(server)
        time.sleep(self._rng.uniform(*INTO_FLUSH_SECONDS))
        if port in clients:
            pid = clients[port]
            self._hurt = Victim(f"pull process {pid} of {member.name}", member, pid, is_child=True)
            self.victim = self._hurt.name
        else:  # a TCP proxy is between them, or the connection is a new one
            pid = self._choose().pid
        os.kill(pid, signal.SIGSTOP)

    def _await_flush(self, server: PostgresServer) -> int:
        """The client's port of a flush that has just begun. The server itself may be killed meanwhile."""
        give_up_at = time.monotonic() + FLUSH_SECONDS
        while time.monotonic() < give_up_at:
            try:
                with server.session() as connection:
                    while time.monotonic() < give_up_at:
                        for (port,) in connection.execute(_FIND_FLUSHES):
                            return int(port)
                        time.sleep(LOOK_SECONDS)
            except NotReady:
                time.sleep(RETRY_SECONDS)
        raise NoVictim("no flush has begun")


def _find_clients(pids: list[int]) -> dict[int, int]:
    """Process by the port of its end of each connection."""
    clients: dict[int, int] = {}
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            clients |= {each.laddr.port: pid for each in psutil.Process(pid).net_connections("tcp4") if each.laddr}
    return clients
