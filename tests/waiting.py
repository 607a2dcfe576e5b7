"""Waiting in tests: poll a condition, at growing intervals, until a generous deadline."""

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from tests.pace import limit

Found = TypeVar("Found")

LIMIT_SECONDS = 60.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.001, 0.1


def wait_until(condition: Callable[[], Found], *, what: str = "", within_seconds: float = LIMIT_SECONDS) -> Found:
    """What `condition` returned when it was true. `what` was waited for, in words; else the failure quotes the code."""
    for pause_seconds in _list_pauses(within_seconds):
        if found := condition():
            return found
        time.sleep(pause_seconds)
    found = condition()
    assert found, f"not within {limit(within_seconds):.0f} s: {what or _quote(condition)}"
    return found


def wait_while(find_obstacle: Callable[[], object], *, what: str, within_seconds: float = LIMIT_SECONDS) -> None:
    """Until `find_obstacle` returns nothing; the failure names the last obstacle."""
    for pause_seconds in _list_pauses(within_seconds):
        if not find_obstacle():
            return
        time.sleep(pause_seconds)
    obstacle = find_obstacle()
    assert not obstacle, f"not within {limit(within_seconds):.0f} s: {what}: {obstacle}"


async def wait_until_async(condition: Callable[[], object], *, within_seconds: float = LIMIT_SECONDS) -> None:
    """The same on an event loop, whose tasks run meanwhile."""
    for pause_seconds in _list_pauses(within_seconds):
        if condition():
            return
        await asyncio.sleep(pause_seconds)
    assert condition(), f"not within {limit(within_seconds):.0f} s: {_quote(condition)}"


def _list_pauses(within_seconds: float) -> Iterator[float]:
    deadline_at = time.monotonic() + limit(within_seconds)
    pause_seconds = FIRST_PAUSE_SECONDS
    while (left_seconds := deadline_at - time.monotonic()) > 0:
        yield min(pause_seconds, left_seconds)
        pause_seconds = min(pause_seconds * 1.5, LONGEST_PAUSE_SECONDS)


def _quote(condition: Callable[[], object]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):
        return repr(condition)
