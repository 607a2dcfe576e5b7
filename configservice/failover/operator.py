"""Operates instances over SQL, with one connection to each: detach, follow, fence, promote. Every call is idempotent.

Uses `ALTER SYSTEM` and a reload instead of files and signals, so it works from any machine and needs no superuser; the
rights that it needs are in docs/operations/failover.md.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from configservice.errors import ActionFailed, InstanceSilent
from configservice.monitoring.connections import Connect, InstanceConnection
from configservice.monitoring.probe_result import DETACHED_HOST
from configservice.topology.model import Instance

POLL_SECONDS = 0.01

_CONNINFO = "SELECT coalesce(current_setting('primary_conninfo', true), '') AS conninfo"
_SLOT = "SELECT coalesce(current_setting('primary_slot_name', true), '') AS slot"
_MAKE_SLOT = """
SELECT pg_create_physical_replication_slot(%(slot)s, true)
WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %(slot)s)
"""
_RECEIVES = """
SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) AS receives,
       coalesce(current_setting('primary_conninfo', true), '') AS conninfo
"""
_IS_READ_ONLY = (
    "SELECT current_setting('default_transaction_read_only') = 'on' AS is_read_only, clock_timestamp() AS now"
)
# A transaction that began before the fence may still write; a later one cannot.
_OPEN = """
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND xact_start <= %(fenced_at)s AND application_name NOT LIKE '%% configservice'
"""
_COUNT_OPEN = f"SELECT count(*) AS open {_OPEN}"
_END_OPEN = f"SELECT pg_terminate_backend(pid) {_OPEN}"
_TERM = "SELECT term FROM shard_identity"
_STAMP = "UPDATE shard_identity SET term = %(term)s WHERE term < %(term)s RETURNING term"


class Operator:
    """The instances of one shard, by name. Used by one thread at a time; connections stay open between failovers."""

    def __init__(self, connect: Connect, *, action_seconds: float) -> None:
        self._connect = connect
        self._action_seconds = action_seconds
        self._connections: dict[str, tuple[Instance, InstanceConnection]] = {}

    def fetch(
        self, instance: Instance, statement: str, params: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        return self._get(instance).fetch(statement, params, timeout_seconds=self._action_seconds)

    def find_term(self, instance: Instance) -> int | None:
        """The shard term in its rows; None before the shard has tables. Raises like `fetch`."""
        try:
            rows = self.fetch(instance, _TERM)
        except ActionFailed:
            return None
        return int(rows[0]["term"]) if rows else None

    def find_upstream(self, instance: Instance) -> tuple[str, int] | None:
        """Host and port in `primary_conninfo`; None if it names no host, or several."""
        parts = self._read_conninfo(instance)
        try:
            return str(parts["host"]), int(parts.get("port", 5432))
        except (KeyError, ValueError):
            return None

    def detach(self, instance: Instance) -> None:
        """Returns when the standby receives no more WAL. Raises InstanceSilent if it still does at the timeout."""
        parts = self._read_conninfo(instance)
        if parts.get("host") != DETACHED_HOST:
            parts.pop("hostaddr", None)
            self._set(instance, "primary_conninfo", make_conninfo("", **parts | {"host": DETACHED_HOST}))

        def is_done() -> bool:
            row = self.fetch(instance, _RECEIVES)[0]
            return not row["receives"] and DETACHED_HOST in row["conninfo"]

        self._await(instance, is_done, what="still receives")

    def follow(self, instance: Instance, primary: Instance) -> None:
        """Points a standby to `primary`, and creates its replication slot there if it uses one."""
        slot = self.fetch(instance, _SLOT)[0]["slot"]
        if slot:
            self.fetch(primary, _MAKE_SLOT, {"slot": slot})
        parts = self._read_conninfo(instance)
        parts.pop("hostaddr", None)
        conninfo = make_conninfo("", **parts | {"host": primary.host, "port": primary.port})
        self._set(instance, "primary_conninfo", conninfo)
        self._await(
            instance,
            lambda: self.find_upstream(instance) == (primary.host, primary.port),
            what="does not take over its new primary",
        )

    def prepare(self, instance: Instance, *, synchronous_standby_names: str) -> None:
        """Applies the settings that a standby needs before it is promoted."""
        self._execute(instance, "ALTER SYSTEM RESET default_transaction_read_only")
        self._set(instance, "synchronous_standby_names", synchronous_standby_names)

    def synchronize(self, primary: Instance, *, setting: str) -> None:
        """Changes which standbys commits wait for, also for commits that already wait; see `durability`."""
        self._set(primary, "synchronous_standby_names", setting)

    def promote(self, instance: Instance) -> None:
        """Makes the instance leave recovery; does not wait for it."""
        self.fetch(instance, "SELECT pg_promote(false)")

    def stamp(self, instance: Instance, *, term: int) -> None:
        """Raises the shard term in the shard. The commit does not wait for standbys, which may be missing."""
        self._execute(instance, "SET synchronous_commit = local")
        self.fetch(instance, _STAMP, {"term": term})

    def fence(self, instance: Instance, *, drain_seconds: float) -> int:
        """Stops writes: new transactions are read only; open ones get `drain_seconds`, then their sessions are ended.

        Every session has reloaded by the time that ours shows the setting, so a transaction that begins later is read
        only. Returns how many sessions were ended.
        """
        self._execute(instance, "ALTER SYSTEM SET default_transaction_read_only = on")
        self.fetch(instance, "SELECT pg_reload_conf()")
        self._await(
            instance, lambda: bool(self.fetch(instance, _IS_READ_ONLY)[0]["is_read_only"]), what="is not read only"
        )
        fenced_at = {"fenced_at": self.fetch(instance, _IS_READ_ONLY)[0]["now"]}

        def has_drained() -> bool:
            return bool(self.fetch(instance, _COUNT_OPEN, fenced_at)[0]["open"] == 0)

        drained_by = time.monotonic() + drain_seconds
        while time.monotonic() < drained_by:
            if has_drained():
                return 0
            time.sleep(POLL_SECONDS)
        ended_count = len(self.fetch(instance, _END_OPEN, fenced_at))
        self._await(instance, has_drained, what="still has transactions from before the fence")
        return ended_count

    def release(self, instance: Instance) -> None:
        self._execute(instance, "ALTER SYSTEM RESET default_transaction_read_only")
        self.fetch(instance, "SELECT pg_reload_conf()")

    def close(self) -> None:
        for _, connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def _read_conninfo(self, instance: Instance) -> dict[str, Any]:
        return dict(conninfo_to_dict(self.fetch(instance, _CONNINFO)[0]["conninfo"]))

    def _set(self, instance: Instance, name: str, value: str) -> None:
        statement = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
        self._execute(instance, statement.as_string(None))
        self.fetch(instance, "SELECT pg_reload_conf()")

    def _execute(self, instance: Instance, statement: str) -> None:
        self._get(instance).execute(statement, timeout_seconds=self._action_seconds)

    def _get(self, instance: Instance) -> InstanceConnection:
        known = self._connections.get(instance.name)
        if known is not None and known[0] == instance:
            return known[1]
        if known is not None:
            known[1].close()
        connection = self._connect(instance)
        self._connections[instance.name] = (instance, connection)
        return connection

    def _await(self, instance: Instance, is_done: Callable[[], bool], *, what: str) -> None:
        deadline = time.monotonic() + self._action_seconds
        while not is_done():
            if time.monotonic() >= deadline:
                raise InstanceSilent(f"{instance.name} {what} after {self._action_seconds:g} s")
            time.sleep(POLL_SECONDS)
