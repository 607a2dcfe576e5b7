"""A PostgreSQL server: creation of its data directory, its process, connections and readiness.

Its data directory (`standby.signal`) says whether it is a primary or a replica, not its role at creation: a restart
does not undo a promotion.
"""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from devtools.localcluster.account import give
from devtools.localcluster.errors import NotReady
from devtools.localcluster.member import Member
from devtools.localcluster.placement import Placement
from devtools.localcluster.ports import LOOPBACK
from devtools.localcluster.postgres_settings import (
    PASSFILE_NAME,
    RESERVED_CONNECTIONS_SINCE,
    Upstream,
    build_access_rules,
    build_password_file,
    build_settings,
)
from devtools.localcluster.postmaster import find_postmaster
from devtools.localcluster.process import OWNER_VARIABLE, Launch
from devtools.localcluster.spec import (
    CONFIG_SERVICE_ROLE,
    REPLICATION_ROLE,
    SERVICE_ROLE,
    SHARD_DATABASE,
    SHARD_PROXY_ROLE,
    SUPERUSER_ROLE,
)
from devtools.localcluster.state import write_private

CONNECT_SECONDS = 2
STATEMENT_SECONDS = 5
_ALONE = "SET synchronous_commit = local"
OPERATED_PARAMETERS = ("primary_conninfo", "synchronous_standby_names", "default_transaction_read_only")


class PostgresServer(Member):
    """`service_password`: of the role that owns `database`. `find_upstream`: returns the upstream of a replica."""

    kind = "postgres"
    stop_signals: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0))
    discard_signals = ((signal.SIGQUIT, 5.0),)  # a killed one would leave shared memory behind

    def __init__(
        self,
        *,
        port: int,
        database: str,
        service_password: str,
        placement: Placement,
        find_upstream: Callable[[], "PostgresServer | None"],
        **member: Any,
    ) -> None:
        super().__init__(**member)
        self.port = port
        self.database = database
        self.placement = placement
        self._service_password = service_password
        self._find_upstream = find_upstream

    @property
    def data_dir(self) -> Path:
        return self.placement.data_root / self.name

    @property
    def exists(self) -> bool:
        return (self.data_dir / "PG_VERSION").exists()

    @property
    def is_replica(self) -> bool:
        return (self.data_dir / "standby.signal").exists()

    @property
    def timeline(self) -> int:
        """The newest timeline in its WAL. A promotion starts a new one and records it before the first write."""
        return max((int(path.name[:8], 16) for path in (self.data_dir / "pg_wal").glob("*.history")), default=1)

    @property
    def environment(self) -> dict[str, str]:
        """Nothing is inherited: a PGHOST or PGOPTIONS of the caller's shell must not reach a server."""
        return {"LC_ALL": "C", "TZ": "UTC", OWNER_VARIABLE: str(self._state.root)}

    def describe_launch(self) -> Launch:
        self._write_settings()
        self.forget_overrides("primary_conninfo", "primary_slot_name")  # an address of before, perhaps
        self._remove_stale_lock()
        return Launch(
            argv=(self.placement.programs.get_path("postgres"), "-D", str(self.data_dir)),
            cwd=self.data_dir,
            environment=self.environment,
            death_signal=signal.SIGINT,
            account=self.placement.account,
        )

    def connect(self, *, user: str = SERVICE_ROLE, database: str | None = None) -> psycopg.Connection[tuple[Any, ...]]:
        """An autocommit connection as the service's role or as the superuser `postgres`."""
        passwords = {SERVICE_ROLE: self._service_password, SUPERUSER_ROLE: self._state.get_secret("postgres_password")}
        return psycopg.connect(
            host=LOOPBACK,
            port=self.port,
            dbname=database or self.database,
            user=user,
            password=passwords[user],
            connect_timeout=CONNECT_SECONDS,
            options=f"-c statement_timeout={STATEMENT_SECONDS}s",
            application_name="devtools.localcluster",
            autocommit=True,
        )

    @contextmanager
    def session(self, *, user: str = SERVICE_ROLE) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Like `connect`, but errors of the driver inside the context are raised as NotReady."""
        try:
            with self.connect(user=user) as connection:
                yield connection
        except psycopg.Error as error:
            raise NotReady(f"{self.name}: {str(error).strip()}") from error

    def find_obstacle(self) -> str | None:
        """A primary answers; a replica answers and streams."""
        try:
            with self.connect(user=SUPERUSER_ROLE, database="postgres") as connection:
                if not self.is_replica:
                    connection.execute("SELECT 1")
                    return None
                row = connection.execute("SELECT status FROM pg_stat_wal_receiver").fetchone()
        except psycopg.Error as error:
            return str(error).strip()
        return None if row == ("streaming",) else f"it does not stream: {row[0] if row else 'not connected'}"

    def ensure_database(self) -> None:
        """Create roles and database on a primary, with the present passwords. Idempotent.

        Waits for no replica, whatever the shard's durability: those are started once their primary is ready.
        """
        with self.connect(user=SUPERUSER_ROLE, database="postgres") as connection:
            connection.execute(_ALONE)
            # CREATEDB: the tests make databases of their own. pg_monitor: lag and sessions of others.
            self._ensure_role(connection, SERVICE_ROLE, self._service_password, "LOGIN CREATEDB")
            replication_password = self._state.get_secret("replication_password")
            self._ensure_role(connection, REPLICATION_ROLE, replication_password, "LOGIN REPLICATION")
            connection.execute(sql.SQL("GRANT pg_monitor TO {}").format(sql.Identifier(SERVICE_ROLE)))
            if self.database == SHARD_DATABASE:
                self._ensure_shard_proxy_role(connection)
                self._ensure_config_service_role(connection)
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (self.database,)).fetchone()
            if found is None:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(
                        sql.Identifier(self.database), sql.Identifier(SERVICE_ROLE)
                    )
                )
        with self.connect(user=SUPERUSER_ROLE) as connection:
            connection.execute(_ALONE)
            if self.placement.programs.has_statement_statistics:
                connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            if self.database == SHARD_DATABASE:
                # rights on functions belong to the database in which they are called
                grant = "GRANT EXECUTE ON FUNCTION pg_reload_conf(), pg_promote(boolean, integer) TO {}"
                connection.execute(sql.SQL(grant).format(sql.Identifier(CONFIG_SERVICE_ROLE)))

    def _ensure_shard_proxy_role(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        """A role that may see and end sessions of others, has reserved connections, and owns nothing."""
        password = self._state.get_secret("shard_proxy_password")
        self._ensure_role(connection, SHARD_PROXY_ROLE, password, "LOGIN")
        granted = ["pg_monitor", "pg_signal_backend"]
        if self.placement.programs.major >= RESERVED_CONNECTIONS_SINCE:
            granted.append("pg_use_reserved_connections")
        connection.execute(
            sql.SQL("GRANT {} TO {}").format(
                sql.SQL(", ").join(map(sql.Identifier, granted)), sql.Identifier(SHARD_PROXY_ROLE)
            )
        )

    def _ensure_config_service_role(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        """A role with the rights that a failover needs and those of the service; not a superuser."""
        role = sql.Identifier(CONFIG_SERVICE_ROLE)
        password = self._state.get_secret("configservice_password")
        self._ensure_role(connection, CONFIG_SERVICE_ROLE, password, "LOGIN REPLICATION")
        connection.execute(sql.SQL("GRANT pg_signal_backend, {} TO {}").format(sql.Identifier(SERVICE_ROLE), role))
        parameters = sql.SQL(", ").join(map(sql.Identifier, OPERATED_PARAMETERS))
        connection.execute(sql.SQL("GRANT SET, ALTER SYSTEM ON PARAMETER {} TO {}").format(parameters, role))

    @staticmethod
    def _ensure_role(
        connection: psycopg.Connection[tuple[Any, ...]], name: str, password: str, attributes: LiteralString
    ) -> None:
        found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
        verb = sql.SQL("CREATE ROLE" if found is None else "ALTER ROLE")
        connection.execute(
            sql.SQL("{} {} {} PASSWORD {}").format(
                verb, sql.Identifier(name), sql.SQL(attributes), sql.Literal(password)
            )
        )

    def _write_settings(self) -> None:
        upstream = self._find_upstream() if self.is_replica else None
        programs = self.placement.programs
        texts = {
            "postgresql.conf": build_settings(
                name=self.name,
                port=self.port,
                major=programs.major,
                has_statement_statistics=programs.has_statement_statistics,
                upstream=Upstream(port=upstream.port, slot=self.name) if upstream else None,
            ),
            "pg_hba.conf": build_access_rules(),
            PASSFILE_NAME: build_password_file(self._state.get_secret("replication_password")),
        }
        for name, text in texts.items():
            write_private(self.data_dir / name, text)
            give(self.data_dir / name, self.placement.account)
        give(self.data_dir, self.placement.account)

    def forget_overrides(self, *names: str) -> None:
        """Remove the values that ALTER SYSTEM has set for these parameters, while the server is down."""
        overrides = self.data_dir / "postgresql.auto.conf"
        lines = overrides.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.split("=")[0].strip() not in names]
        if kept != lines:
            write_private(overrides, "".join(kept))
            give(overrides, self.placement.account)

    def _remove_stale_lock(self) -> None:
        """PostgreSQL refuses to start while the pid in postmaster.pid exists, even if another program has it now."""
        if find_postmaster(self.data_dir) is None:
            (self.data_dir / "postmaster.pid").unlink(missing_ok=True)


def find_primary(instances: Iterable[PostgresServer]) -> PostgresServer | None:
    """The primary among a shard's instances. After a failover the data of two may say primary: the one with the newest
    timeline is it."""
    primaries = [instance for instance in instances if instance.exists and not instance.is_replica]
    return max(primaries, key=lambda instance: instance.timeline, default=None)
