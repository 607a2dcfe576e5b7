"""Duration and CPU time of a run, by part, with the set-up of clusters apart.

CPU time is read when the file changes and around each start and stop of a cluster: of this process, its ended children,
and all living descendants.
"""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

CLUSTERS = "clusters"
COLLECTION = "collection"
SLOWEST_COUNT = 10
_ROOT = Path(__file__).parent


class CpuMeter:
    """Attributes the CPU time since the last reading, of this process and its descendants, to the current activity."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.cluster_seconds: Counter[str] = Counter()
        """Wall time, by the file that waited for the start or stop of a cluster."""
        self._charged = COLLECTION
        self._read = 0.0

    def switch(self, charged: str) -> None:
        if charged == self._charged:
            return
        now = read_cpu_seconds()
        # Less than before after a process was killed whose ended children were not accounted elsewhere.
        self.seconds[self._charged] += max(0.0, now - self._read)
        self._charged, self._read = charged, now

    @contextmanager
    def charging_clusters(self) -> Iterator[None]:
        before, started_at = self._charged, time.monotonic()
        self.switch(CLUSTERS)
        try:
            yield
        finally:
            self.switch(before)
            self.cluster_seconds[before] += time.monotonic() - started_at


def read_cpu_seconds() -> float:
    """CPU time so far of this process, its ended children, and all living descendants."""
    times = os.times()
    seconds = times.user + times.system + times.children_user + times.children_system
    for process in psutil.Process().children(recursive=True):
        try:
            cpu = process.cpu_times()
        except psutil.Error:  # it has just ended; its parent has it in its account, or will
            continue
        seconds += cpu.user + cpu.system + cpu.children_user + cpu.children_system
    return seconds


meter = CpuMeter()


class Summary:
    """The summary in the reporting process; workers send their measurements to it."""

    def __init__(self) -> None:
        self.started_at = time.monotonic()
        self.tests: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        """Wall time by file."""
        self.cluster_seconds: Counter[str] = Counter()
        self.cpu_seconds: Counter[str] = Counter()
        self.slowest: Counter[str] = Counter()

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = report.nodeid.split("::")[0]
        self.seconds[file] += report.duration
        self.slowest[report.nodeid] += report.duration
        self.tests[file] += report.when == "call"

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.add(getattr(node, "workeroutput", {}).get("minutes", {}))

    def add(self, measured: dict[str, dict[str, float]]) -> None:
        self.cpu_seconds.update(measured.get("cpu", {}))
        self.cluster_seconds.update(measured.get("clusters", {}))

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.tests:
            return
        write = terminalreporter.write_line
        terminalreporter.write_sep("=", "minutes")
        write(f"{'part':<20}{'tests':>7}{'minutes':>10}{'CPU':>8}")
        for part, tests, seconds, cpu_seconds in self.list_parts():
            write(f"{part:<20}{tests or '':>7}{seconds / 60:>10.2f}{cpu_seconds / 60:>8.2f}")
        passed = time.monotonic() - self.started_at
        write(f"{'by the clock':<27}{passed / 60:>10.2f}{self.cpu_seconds.total() / 60:>8.2f}")
        write("\nslowest tests")
        for nodeid, seconds in self.slowest.most_common(SLOWEST_COUNT):
            write(f"{seconds:8.1f} s  {nodeid}")
        if file_count := terminalreporter.config.option.files:
            write("\nmost CPU")
            for file, seconds in self.cpu_seconds.most_common(file_count):
                write(f"{seconds:8.1f} s  {file}")

    def list_parts(self) -> list[tuple[str, int, float, float]]:
        """Name, number of tests, seconds and CPU seconds; waiting for clusters is a part of its own."""
        tests: Counter[str] = Counter()
        seconds: defaultdict[str, float] = defaultdict(float)
        cpu: defaultdict[str, float] = defaultdict(float)
        for file, count in self.tests.items():
            tests[find_part(file)] += count
        for file, spent in self.seconds.items():
            seconds[find_part(file)] += spent - self.cluster_seconds[file]
        seconds[CLUSTERS] = self.cluster_seconds.total()
        for file, spent in self.cpu_seconds.items():
            cpu[find_part(file)] += spent
        names = sorted({*seconds, *cpu}, key=lambda name: -cpu[name])
        return [(name, tests[name], seconds[name], cpu[name]) for name in names]


def find_part(file: str) -> str:
    """`unit` of `tests/unit/api/test_errors.py`."""
    parts = file.split("/")
    return parts[1] if len(parts) > 2 else file


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("tiers").addoption(
        "--files", type=int, default=0, metavar="N", help="name the N files that used most CPU at the end"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Summary(), "viewcounter-summary")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    meter.switch(item.nodeid.split("::")[0])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """After the last fixture is torn down, and before the summary is written or a worker says what it has measured."""
    meter.switch("")
    if session.config.getoption("numprocesses", None):  # what its children have used, they say themselves
        meter.seconds = Counter({COLLECTION: time.process_time()})
    measured = {"cpu": dict(meter.seconds), "clusters": dict(meter.cluster_seconds)}
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["minutes"] = measured
    else:
        session.config.pluginmanager.get_plugin("viewcounter-summary").add(measured)
