"""The metric files of a host: every process writes its own, and the one that is scraped adds them up.

Processes are forked, killed and replaced, so each writes `<kind>_<pid>.db` (prometheus-client's multi-process
mode) in one folder of the state directory. That library never removes a counter's file, because the sum must
not fall when a process dies. Here the files of dead processes are folded into one of each kind, `<kind>_0.db`:
the sum stays, and the folder holds as many files as processes live, however many have died.

Invariant: files are folded, removed and added up only under the lock of the folder.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import values
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from runtime.errors import Retryable

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus-client's own; without it metrics stay in the memory of the process."""

LOCK_WAIT_SECONDS = 2.0
_FOLDED_PID = 0
_MEASURED = "gauge_mostrecent"


class MetricFilesLocked(Retryable, TimeoutError):
    """Another process holds the lock of the metric files for longer than a scrape takes: is one paused?"""


def find_folder() -> Path | None:
    """Where this process keeps its metric files; None when they are in memory only."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) if folder else None


def start_process_group(folder: Path) -> None:
    """For the first process of a web server, worker or beat, before it imports `runtime.metrics`.

    When no process of this host lives any more, everything starts from zero. Otherwise what dead processes
    have counted is kept, or the sums would fall while the others go on. Does nothing the second time.
    """
    if values.ValueClass._multiprocess:  # a second start would open the same file twice
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ[FOLDER_VARIABLE] = str(folder)
    # The library chose when it was imported, a moment ago: memory. Metrics made from here on are in files.
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
    with _locked(folder):
        if any(_is_alive(_get_pid(path)) for path in folder.glob("*.db")):
            _fold_dead(folder)
        else:
            for path in folder.glob("*.db"):
                path.unlink()


def fold_dead_processes(folder: Path) -> None:
    """Add the files of dead processes to those of all the dead before them. Raises MetricFilesLocked."""
    with _locked(folder):
        _fold_dead(folder)


class FolderCollector(Collector):
    """The metrics of all processes of the host. Collecting raises MetricFilesLocked.

    `fresh_seconds`: how long each measured gauge is served. The task that measures runs on one host now and on another
    later; a host that has not measured lately must serve nothing rather than an old value.
    """

    def __init__(
        self, folder: Path, *, fresh_seconds: Mapping[str, float], clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._fresh_seconds = fresh_seconds
        self._clock = clock

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not collect."""
        return []

    def collect(self) -> list[Metric]:
        with _locked(self._folder):
            _fold_dead(self._folder)
            # A file that has just been made is empty for a moment.
            files = [path for path in sorted(self._folder.glob("*.db")) if path.stat().st_size]
            measured = [path for path in files if path.name.startswith(_MEASURED)]
            added_up = [str(path) for path in files if not path.name.startswith(_MEASURED)]
            return [
                *MultiProcessCollector.merge(added_up),  # type: ignore[no-untyped-call]
                *self._build_gauges(_read_newest(measured)),
            ]

    def _build_gauges(self, newest: Mapping[str, tuple[float, float]]) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for key, (value, timestamp) in newest.items():
            _, name, labels, text = json.loads(key)
            if timestamp + self._fresh_seconds.get(name, 0.0) >= self._clock():
                family = families.setdefault(name, GaugeMetricFamily(name, text, labels=list(labels)))
                family.add_metric(list(labels.values()), value)
        return families.values()


def _fold_dead(folder: Path) -> None:
    by_kind: dict[str, list[Path]] = {}
    for path in folder.glob("*.db"):
        pid = _get_pid(path)
        if pid != _FOLDED_PID and not _is_alive(pid):
            by_kind.setdefault(path.name.rpartition("_")[0], []).append(path)
    for kind, dead in by_kind.items():
        if not kind.startswith("gauge_live"):
            _fold(folder / f"{kind}_{_FOLDED_PID}.db", dead, keeps_newest=kind == _MEASURED)
        for path in dead:
            path.unlink()


def _fold(target: Path, dead: list[Path], *, keeps_newest: bool) -> None:
    """The target is replaced whole, so that no one ever reads half of a sum."""
    files = [*([target] if target.exists() else []), *dead]
    if keeps_newest:
        sums = _read_newest(files)
    else:
        sums = {}
        for path in files:
            for key, value, _ in _read_values(path):
                sums[key] = (sums.get(key, (0.0, 0.0))[0] + value, 0.0)
    draft = target.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    folded = MmapedDict(str(draft))  # type: ignore[no-untyped-call]
    for key, (value, timestamp) in sums.items():
        folded.write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
    folded.close()  # type: ignore[no-untyped-call]
    draft.replace(target)


def _read_newest(files: list[Path]) -> dict[str, tuple[float, float]]:
    """By key, the value with the latest timestamp; those never set are left out."""
    newest: dict[str, tuple[float, float]] = {}
    for path in files:
        for key, value, timestamp in _read_values(path):
            if timestamp > newest.get(key, (0.0, 0.0))[1]:
                newest[key] = (value, timestamp)
    return newest


def _read_values(path: Path) -> Iterator[tuple[str, float, float]]:
    if path.stat().st_size:
        for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
            yield key, value, timestamp


def _get_pid(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])


def _is_alive(pid: int) -> bool:
    """Another process may have got the pid of a dead one; the file is then folded when that process has ended."""
    if pid == _FOLDED_PID:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    with (folder / "lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise MetricFilesLocked(f"{folder}/lock is held by another process") from None
                time.sleep(0.01)
        yield
