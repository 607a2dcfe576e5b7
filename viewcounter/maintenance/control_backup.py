"""Backups of the control database: pg_dump of one snapshot, and its verification by a restore into a scratch database.

The rows of every table are counted in the snapshot that is dumped, so that the restored counts must be equal, whatever
is written meanwhile. One backup at a time in the whole cluster, by an advisory lock: the scratch database has one name.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from viewcounter.maintenance.backup_folder import (
    Backup,
    Manifest,
    complete,
    create_partial,
    list_backups,
    plan_removals,
    remove,
    remove_incomplete,
    write_manifest,
)
from viewcounter.maintenance.errors import BackupFailed, BackupInProgress, BackupNotVerified
from viewcounter.maintenance.postgres_programs import PostgresTools

logger = logging.getLogger(__name__)

Progress = Callable[[str], None]

SESSIONS_TABLE = "public.django_session"
"""Its rows are not dumped: the key of a session is all that a thief needs to act as the person who logged in."""
SCRATCH_SUFFIX = "_backup_check"
NAME_MAX_CHARACTERS = 63
_LOCK_KEY = 0x76_63_62_61_63_6B_75_70  # "vcbackup"

_LIST_TABLES = """
SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a control database holds in one snapshot."""

    cluster_id: str
    epoch: int
    row_counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class BackupSession:
    """`connection` is in autocommit mode and holds the lock of backups. Everything ends by `deadline_at` (monotonic
    clock)."""

    connection: BaseDatabaseWrapper
    tools: PostgresTools
    folder: Path
    cluster_id: str
    deadline_at: float
    progress: Progress

    def list_backups(self) -> list[Backup]:
        return list_backups(self.folder, cluster_id=self.cluster_id)


@contextmanager
def open_backup_session(
    tools: PostgresTools, folder: Path, *, deadline_at: float, progress: Progress = lambda _: None
) -> Iterator[BackupSession]:
    """Takes the lock. Raises BackupFailed, BackupInProgress; in the block, errors of databases and files become
    BackupFailed."""
    connection = _copy_connection()
    try:
        with connection.cursor() as cursor:
            _set_limits(cursor, deadline_at=deadline_at)
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK_KEY])
            if cursor.fetchone() != (True,):
                raise BackupInProgress("another process is backing up the control database")
            cluster_id = _read_cluster_id(cursor)
        yield BackupSession(connection, tools, folder, cluster_id, deadline_at, progress)
    except DatabaseError as error:
        raise BackupFailed(f"the control database: {error}") from error
    except OSError as error:
        raise BackupFailed(f"the folder of backups, {folder}: {error}") from error
    finally:
        connection.close()


def make_backup(session: BackupSession, *, now: datetime) -> Backup:
    """A new backup, not verified yet. Raises BackupFailed, DatabaseError, OSError."""
    if session.folder.is_dir():
        remove_incomplete(session.folder, cluster_id=session.cluster_id)
    session.progress("dump")
    connection = _copy_connection()
    try:
        with connection.cursor() as cursor:
            _set_limits(cursor, deadline_at=session.deadline_at)
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute("SELECT pg_export_snapshot()")
            (snapshot,) = cursor.fetchone()
            contents = read_contents(cursor)
            partial = create_partial(session.folder, cluster_id=contents.cluster_id, epoch=contents.epoch, now=now)
            try:
                session.tools.dump(
                    connection.get_connection_params(),
                    partial,
                    snapshot=snapshot,
                    without_rows=SESSIONS_TABLE,
                    deadline_at=session.deadline_at,
                )
                manifest = Manifest(
                    taken_at=now,
                    cluster_id=contents.cluster_id,
                    epoch=contents.epoch,
                    size_bytes=partial.stat().st_size,
                    sha256=_compute_sha256(partial),
                    row_counts=contents.row_counts,
                )
                return complete(partial, manifest)
            finally:
                partial.unlink(missing_ok=True)
    finally:
        connection.close()


def verify_backup(session: BackupSession, backup: Backup) -> Backup:
    """The backup with the time of its verification in its manifest.

    Raises BackupNotVerified if it cannot be restored or holds something else, BackupFailed if the scratch database
    cannot be made, DatabaseError, OSError.
    """
    session.progress("check the file")
    if _compute_sha256(backup.path) != backup.manifest.sha256:
        raise BackupNotVerified(f"{backup.path} has changed since it was written: its SHA-256 is not the manifest's")
    session.progress("restore into a scratch database")
    with _scratch_database(session) as scratch:
        session.tools.restore(scratch.get_connection_params(), backup.path, deadline_at=session.deadline_at)
        session.progress("compare rows")
        with scratch.cursor() as cursor:
            _set_limits(cursor, deadline_at=session.deadline_at)
            found = read_contents(cursor)
    if differences := find_differences(backup.manifest, found):
        raise BackupNotVerified(f"{backup.path} is not what was dumped: {'; '.join(differences)}")
    manifest = msgspec.structs.replace(backup.manifest, verified_at=datetime.now(UTC))
    return write_manifest(Backup(backup.path, manifest))


def remove_old_backups(session: BackupSession, *, keep_count: int) -> list[Backup]:
    """Returns the removed ones. Raises OSError."""
    removed = plan_removals(session.list_backups(), keep_count=keep_count)
    for backup in removed:
        remove(backup)
    return removed


def read_contents(cursor: CursorWrapper) -> Contents:
    """In the snapshot of the cursor's transaction. Raises BackupFailed if there is no topology."""
    cluster_id = _read_cluster_id(cursor)
    cursor.execute("SELECT max(epoch) FROM configservice_topologyepoch")
    (epoch,) = cursor.fetchone()
    cursor.execute(_LIST_TABLES)
    row_counts = {}
    for (table,) in cursor.fetchall():
        if table != SESSIONS_TABLE:
            cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - quoted by format('%I.%I')
            (row_counts[table],) = cursor.fetchone()
    return Contents(cluster_id, epoch or 0, row_counts)


def find_differences(manifest: Manifest, found: Contents) -> list[str]:
    """Pure. In words."""
    differences = []
    if found.cluster_id != manifest.cluster_id:
        differences.append(f"cluster {found.cluster_id} instead of {manifest.cluster_id}")
    if found.epoch != manifest.epoch:
        differences.append(f"topology epoch {found.epoch} instead of {manifest.epoch}")
    for table in sorted({*manifest.row_counts, *found.row_counts}):
        expected, count = manifest.row_counts.get(table), found.row_counts.get(table)
        if count != expected:
            held = "no table" if count is None else f"{count} rows"
            differences.append(f"{table}: {held} instead of {'no table' if expected is None else f'{expected} rows'}")
    return differences


@contextmanager
def _scratch_database(session: BackupSession) -> Iterator[BaseDatabaseWrapper]:
    """A connection to an empty database beside the control database, which is dropped at the end.

    One that a killed process has left is dropped first; no other process uses it while the session holds the lock.
    """
    scratch = _copy_connection()
    name = str(scratch.settings_dict["NAME"])[: NAME_MAX_CHARACTERS - len(SCRATCH_SUFFIX)] + SCRATCH_SUFFIX
    scratch.settings_dict["NAME"] = name
    quoted = session.connection.ops.quote_name(name)
    drop = f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE)"
    with session.connection.cursor() as cursor:
        cursor.execute(drop)
        # Any locale of the control database can be restored into this one.
        cursor.execute(f"CREATE DATABASE {quoted} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        try:
            yield scratch
        finally:
            scratch.close()
            cursor.execute(drop)


def _copy_connection() -> BaseDatabaseWrapper:
    return connections[DEFAULT_DB_ALIAS].copy()


def _set_limits(cursor: CursorWrapper, *, deadline_at: float) -> None:
    """The limits of ordinary statements would end a snapshot that pg_dump has still to take over."""
    left_ms = str(max(1, int((deadline_at - time.monotonic()) * 1000)))
    for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
        cursor.execute("SELECT set_config(%s, %s, false)", [name, left_ms])
    cursor.connection.wait_seconds = max(1.0, deadline_at - time.monotonic())


def _read_cluster_id(cursor: CursorWrapper) -> str:
    cursor.execute("SELECT to_regclass('configservice_cluster') IS NOT NULL")
    if cursor.fetchone() == (True,):
        cursor.execute("SELECT id FROM configservice_cluster")
        row: tuple[Any] | None = cursor.fetchone()
        if row is not None:
            return str(row[0])
    raise BackupFailed("the control database holds no topology: there is nothing to back up")


def _compute_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
