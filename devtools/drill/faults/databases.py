"""Faults inside a running database server: long statements, foreign locks, a replica that does not replay."""

import threading
import time
from collections.abc import Collection
from contextlib import suppress
from random import Random

from devtools.drill.context import FaultContext
from devtools.drill.errors import NotFresh, NoVictim
from devtools.drill.freshness import find_worst_age
from devtools.localcluster.errors import NotReady
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.spec import SUPERUSER_ROLE

FRESH_SECONDS = 1.0
"""Age of the other partitions' events while one state row of their shard is locked."""
SLOW_SESSIONS = 8
SLOW_SECONDS = 60
JOIN_SECONDS = 30.0


class _SessionFault:
    """Statements of foreign sessions on a primary, each in a thread, until the session reaper or `heal` ends them."""

    statements: tuple[str, ...]
    sessions = 1
    application = "psql"

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
        server = self._context.get_primary(self._context.choose_shard(self._rng))
        self._start(server)
        self.victim = server.name

    def _start(self, server: PostgresServer) -> None:
        self._server = server
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
            connection.execute("SELECT set_config('application_name', %s, false)", (self.application,))
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


class StateRowHolder(_SessionFault):
    """A foreign transaction locks the state row of one partition: the others of its shard stay fresh."""

    application = "pg_restore"
    """The session reaper spares it, so that the lock lasts."""

    def strike(self) -> None:
        self._shard = self._context.choose_shard(self._rng)
        server = self._context.get_primary(self._shard)
        self._await_fresh()
        with server.session() as connection:
            rows = connection.execute("SELECT partition FROM partition_state WHERE state = 'owned'").fetchall()
        self._partition = self._rng.choice(sorted(partition for (partition,) in rows))
        lock = f"SELECT FROM partition_state WHERE partition = {self._partition} FOR UPDATE"
        self.statements = ("BEGIN", lock)
        self._start(server)
        self.victim = f"partition {self._partition} on {server.name}"
        self._struck_at = time.monotonic()

    def heal(self) -> None:
        until = time.monotonic()
        held = self._context.freshness.read([self._shard], since=self._struck_at, until=until)[-1:]
        super().heal()
        if not all(sample.ages.get(self._partition) for sample in held):
            raise NoVictim(f"partition {self._partition} was counted although its state row should have been locked")
        worst = self._find_worst_age(since=self._struck_at, until=until, without=[self._partition])
        if worst is None or worst > FRESH_SECONDS:
            raise NotFresh(
                f"while the state row of partition {self._partition} was locked, an event of another partition of "
                f"{self._shard} was counted {'never' if worst is None else f'{worst:.2f} s'} after its acknowledgement"
            )

    def _await_fresh(self) -> None:
        """Wait until nothing is left of earlier faults."""

        def find_obstacle() -> str | None:
            now = time.monotonic()
            worst = self._find_worst_age(since=now - FRESH_SECONDS, until=now, without=[])
            return None if worst is not None and worst < FRESH_SECONDS else f"an event is {worst} s old"

        self._context.await_none(find_obstacle, what=f"events of {self._shard} to be counted at once")

    def _find_worst_age(self, *, since: float, until: float, without: Collection[int]) -> float | None:
        return find_worst_age(self._context.freshness.read([self._shard], since=since, until=until), without=without)


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
