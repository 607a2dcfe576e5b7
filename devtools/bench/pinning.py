"""Pins one process to a core of its own, so that no other process disturbs its figures."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


@contextmanager
def pinned(pid: int) -> Iterator[list[int]]:
    """Pin the tree of a process, with its threads, to one core; this process and its other children to the others.

    Yields that core, or all if there is only one. Afterwards all processes may use all cores again.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        yield cores
        return
    alone = _list_tree(pid)
    try:
        _place({*_list_tree(os.getpid())} - alone, cores[1:])
        _place(alone, cores[:1])
        yield cores[:1]
    finally:
        _place(_list_tree(os.getpid()), cores)


def _list_tree(pid: int) -> set[int]:
    return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}


def _place(pids: set[int], cores: list[int]) -> None:
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # one that has just ended
            for thread in Path(f"/proc/{pid}/task").iterdir():
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), cores)
