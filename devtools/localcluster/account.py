"""Chooses the operating-system account of PostgreSQL, which refuses to run as root."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtools.localcluster.errors import StateUnusable

CANDIDATES = ("postgres", "nobody")
CHECK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int
    gid: int


def find_account() -> Account | None:
    """An unprivileged account if this process runs as root, else None: PostgreSQL then runs as the same user."""
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise StateUnusable(f"running as root needs one of the accounts {', '.join(CANDIDATES)} for PostgreSQL")


def build_switch(account: Account | None) -> dict[str, Any]:
    """Arguments of `subprocess` that run a program as `account`."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def can_run(argv: list[str], account: Account | None) -> bool:
    """Whether `account` can run this program. Tried, since ACLs and mount options count as well as modes."""
    try:
        finished = subprocess.run(
            argv, cwd="/", capture_output=True, timeout=CHECK_SECONDS, check=False, **build_switch(account)
        )
    except OSError:
        return False
    return finished.returncode == 0


def can_traverse(folder: Path, account: Account | None) -> bool:
    return account is None or can_run(["test", "-x", str(folder)], account)


def give(path: Path, account: Account | None) -> None:
    """Make `account` the owner of `path` and of everything below it."""
    if account is None or (path.stat().st_uid == account.uid and path.stat().st_gid == account.gid):
        return
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            os.chown(Path(folder, name), account.uid, account.gid, follow_symlinks=False)
    os.chown(path, account.uid, account.gid, follow_symlinks=False)


def let_through(folder: Path, account: Account | None) -> None:
    """Let `account` pass through a folder of ours without being able to list it."""
    if account is not None:
        os.chown(folder, -1, account.gid)
        folder.chmod(0o710)
