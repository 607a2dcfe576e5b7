"""Slowness of this machine, measured once for each run: every time limit in tests is multiplied by it.

1 on a quiet machine of two cores, more on a slower or busy one, never less.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import pytest

VARIABLE = "VIEWCOUNTER_TEST_PACE"
"""Measured by the first process of a run, used by all of them."""
PACE_MAX = 10.0

# Seconds on a quiet machine of two cores, 2.1 GHz.
_COMPUTE_SECONDS, _START_SECONDS, _FSYNC_SECONDS = 0.05, 0.02, 0.01
_ROUNDS = 3


def limit(seconds: float) -> float:
    """A time limit of a quiet machine, scaled to this one."""
    return seconds * get_pace()


def get_pace() -> float:
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = f"{measure_pace():.2f}"
    return float(os.environ[VARIABLE])


def measure_pace() -> float:
    slowness = max(
        _time(_compute) / _COMPUTE_SECONDS, _time(_start_process) / _START_SECONDS, _time(_write) / _FSYNC_SECONDS
    )
    # A moment's measurement may fall between two bursts of others; what has run lately is likely to go on.
    crowding = 1 + os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(max(1.0, slowness, crowding), PACE_MAX)


def _time(work: Callable[[], object]) -> float:
    """The median of some rounds."""
    seconds = []
    for _ in range(_ROUNDS):
        started_at = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started_at)
    return sorted(seconds)[_ROUNDS // 2]


def _compute() -> int:
    return sum(number * number for number in range(600_000))


def _start_process() -> None:
    subprocess.run([sys.executable, "-S", "-c", ""], check=True, timeout=60)


def _write() -> None:
    with tempfile.TemporaryFile() as file:
        for _ in range(5):
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Sets the limit of pytest-timeout; workers get it with the options of the first process."""
    if config.option.timeout is None:
        config.option.timeout = limit(float(config.getini("timeout")))


def pytest_report_header() -> str:
    return f"pace: limits of time are multiplied by {get_pace():g}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        mark = item.get_closest_marker("timeout")
        if mark is not None:
            item.add_marker(pytest.mark.timeout(limit(mark.args[0])), append=False)
