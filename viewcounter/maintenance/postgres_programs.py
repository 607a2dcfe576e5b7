"""Runs pg_dump and pg_restore with the connection parameters of Django's connection, and with a deadline."""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viewcounter.maintenance.errors import BackupFailed, BackupNotVerified, BackupProgramMissing

MESSAGE_LINES = 3
_NOT_OF_LIBPQ = frozenset({"password", "cursor_factory", "context", "prepare_threshold"})
_INHERITED = ("PATH", "HOME", "LD_LIBRARY_PATH")
"""The programs need no other variable, and must not see our secrets."""


class _ProgramFailed(Exception):
    pass


@dataclass(frozen=True, slots=True)
class PostgresTools:
    """Paths of the two programs. Their version must be that of the server or newer."""

    pg_dump: str
    pg_restore: str

    def dump(
        self, parameters: Mapping[str, Any], path: Path, *, snapshot: str, without_rows: str, deadline_at: float
    ) -> None:
        """Overwrites `path`, which keeps its mode. Raises BackupFailed."""
        arguments = (
            "--format=custom",
            f"--snapshot={snapshot}",
            f"--exclude-table-data={without_rows}",
            "--extension=plpgsql",  # no other one: only a superuser could create them in the restored database
            "--no-comments",  # on plpgsql, which its owner alone may write
            f"--file={path}",
            f"--dbname={format_conninfo(parameters)}",
        )
        try:
            _run(self.pg_dump, arguments, parameters, deadline_at=deadline_at)
        except _ProgramFailed as error:
            raise BackupFailed(f"pg_dump: {error}") from error

    def restore(self, parameters: Mapping[str, Any], path: Path, *, deadline_at: float) -> None:
        """Into an empty database. Raises BackupNotVerified."""
        arguments = (
            "--exit-on-error",
            "--single-transaction",
            "--no-owner",
            "--no-privileges",
            f"--dbname={format_conninfo(parameters)}",
            str(path),
        )
        try:
            _run(self.pg_restore, arguments, parameters, deadline_at=deadline_at)
        except _ProgramFailed as error:
            raise BackupNotVerified(f"{path} cannot be restored: pg_restore: {error}") from error


def find_postgres_tools(bin_dir: Path | None) -> PostgresTools:
    """In `bin_dir`, or in PATH without it. Raises BackupProgramMissing."""
    found = {name: shutil.which(name, path=None if bin_dir is None else str(bin_dir)) for name in PROGRAMS}
    for name, path in found.items():
        if path is None:
            raise BackupProgramMissing(
                f"no program {name} in {bin_dir or 'PATH'}: install PostgreSQL's client programs, of the version of the"
                " control database or newer, or set VIEWCOUNTER_CONTROL_BACKUP_BIN_DIR"
            )
    return PostgresTools(**{name: path for name, path in found.items() if path is not None})


PROGRAMS = ("pg_dump", "pg_restore")


def format_conninfo(parameters: Mapping[str, Any]) -> str:
    """libpq's connection string, without the password: arguments of a process can be read by every account."""
    given = {name: str(value) for name, value in parameters.items() if name not in _NOT_OF_LIBPQ and value is not None}
    return " ".join(f"{name}='{_escape(value)}'" for name, value in given.items())


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _run(program: str, arguments: Sequence[str], parameters: Mapping[str, Any], *, deadline_at: float) -> None:
    """Raises _ProgramFailed with the last lines that the program has written."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment |= {"LC_ALL": "C", "PGPASSWORD": str(parameters.get("password") or "")}
    left_seconds = max(0.0, deadline_at - time.monotonic())
    try:
        done = subprocess.run(
            [program, "--no-password", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=left_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _ProgramFailed(
            f"not done after {left_seconds:.0f} s; raise VIEWCOUNTER_CONTROL_BACKUP_SECONDS_MAX"
        ) from error
    except OSError as error:
        raise _ProgramFailed(f"{program} does not run: {error.strerror}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise _ProgramFailed(" / ".join(lines[:MESSAGE_LINES]))
