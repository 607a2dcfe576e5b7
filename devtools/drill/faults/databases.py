"""Faults inside a running database server: long statements, foreign locks, a replica that does not replay."""

import threading
from contextlib import suppress
from random import Random

from devtools.drill.context import FaultContext
from devtools.localcluster.errors import NotReady
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.spec import SUPERUSER_ROLE

SLOW_SESSIONS = 8
SLOW_SECONDS = 60
JOIN_SECONDS = 30.0


class _SessionFault:
    """Statements of foreign sessions on a primary, each in a thread, until the session reaper or `heal` ends them."""

    statements: tuple[str, ...]
    sessions = 1

    def __init__(self, context: FaultContext, rng: Random) -> None:
        self._context = context
        self._rng = rng
        self._server: PostgresServer | None = None
        self._threads: list[threading.Thread] = []
        self._pids: list[int] = []
        self._ending = threading.Event()
        self.victim = ""
        self.shard: str | None = None

    def strike(self) -> None:
        server = self._server = self._context.get_primary(self._context.choose_shard(self._rng))
        self.victim = server.name
        self._threads = [threading.Thread(target=self._run, args=(server,), daemon=True) for _ in range(self.sessions)]
        for thread in self._threads:
            thread.start()

    def heal(self) -> None:
        self._ending.set()
        if self._server is not None:
            with suppress(NotReady), self._server.session(user=SUPERUSER_ROLE) as connection:
                connection.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (self._pids,))
        for thread in self._threads:
            thread.join(JOIN_SECONDS)

    def _run(self, server: PostgresServer) -> None:
        with suppress(NotReady), server.session() as connection:
            self._pids.append(connection.info.backend_pid)
            connection.execute("SET application_name = 'psql'")
            connection.execute("SET statement_timeout = 0")
            for statement in self.statements:
                connection.execute(statement.encode())
            self._ending.wait(SLOW_SECONDS)


class SlowQueries(_SessionFault):
    """Foreign reports that never end."""

    statements = ("SELECT max(value), pg_sleep(60) FROM raw_event",)
    sessions = SLOW_SESSIONS


class LockHolder(_SessionFault):
    """A foreign open transaction that locks every partition's row: flushes of the shard wait for it."""

    statements = ("BEGIN", "SELECT * FROM partition_state FOR UPDATE")


class LaggingReplica:
    """A replica that receives WAL without replaying it."""

    def __init__(self, context: FaultContext, rng: Random) -> None:
        self._context = context
        self._rng = rng
        self._server: PostgresServer | None = None
        self.victim = ""
        self.shard: str | None = None

    def strike(self) -> None:
        server = self._server = self._context.get_replica(self._context.choose_shard(self._rng), self._rng)
        self.victim = server.name
        with server.session(user=SUPERUSER_ROLE) as connection:
            connection.execute("SELECT pg_wal_replay_pause()")

    def heal(self) -> None:
        if self._server is not None:
            with self._server.session(user=SUPERUSER_ROLE) as connection:
                connection.execute("SELECT pg_wal_replay_resume() WHERE pg_is_in_recovery()")
