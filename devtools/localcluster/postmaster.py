"""Finds the PostgreSQL server of a data directory by its pid file, also of one that something else has started."""

from pathlib import Path

import psutil


def find_postmaster(data_dir: Path) -> psutil.Process | None:
    """None if no server runs there: the pid may belong to another program by now."""
    try:
        pid = int((data_dir / "postmaster.pid").read_text(encoding="ascii").split("\n", 1)[0])
        process = psutil.Process(pid)
        return process if Path(process.cwd()) == data_dir.resolve() else None
    except (OSError, ValueError, psutil.Error):
        return None
