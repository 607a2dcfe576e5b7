"""CPU time by component, seen from outside: whole process trees, so that every backend counts."""

from collections.abc import Mapping

import psutil


def read_cpu_seconds(roots: Mapping[str, list[int]]) -> dict[str, float]:
    """User and system time of the trees below the process ids of each component; processes that have ended and been
    reaped count with their parents."""
    return {component: sum(_read_tree(pid) for pid in pids) for component, pids in roots.items()}


def _read_tree(pid: int) -> float:
    root = psutil.Process(pid)
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
