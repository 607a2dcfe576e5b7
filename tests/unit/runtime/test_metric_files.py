"""Sums over processes that come and go: real processes, one folder."""

import fcntl
import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest, values
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.parser import text_string_to_metric_families

from runtime.metric_files import FolderCollector, MetricFilesLocked, fold_dead_processes, start_process_group

FRESH = {"measured": 60.0}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Ready for a group of processes; this very process goes on without files afterwards."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "unset")
    monkeypatch.setattr(values, "ValueClass", values.MutexValue)
    start_process_group(tmp_path)
    return tmp_path


def start_again(folder: Path) -> None:
    values.ValueClass = values.MutexValue
    start_process_group(folder)


def count_in_a_process_that_dies(folder: Path, *, accepted: int, seconds: float) -> None:
    code = f"""
        from runtime.metrics import APPEND_SECONDS, BUFFERED_EVENTS, EVENTS_ACCEPTED, EVENTS_FLUSHED
        EVENTS_ACCEPTED.inc({accepted})
        EVENTS_FLUSHED.labels("counted").inc({accepted})
        APPEND_SECONDS.observe({seconds})
        BUFFERED_EVENTS.set(7)
    """
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(folder), "PATH": ""}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment, check=True, cwd=Path.cwd())


def write_measurement(path: Path, value: float, *, at: float) -> None:
    file = MmapedDict(str(path))
    file.write_value(mmap_key("measured", "measured", ["partition"], ["3"], "help"), value, at)
    file.close()


def read_samples(folder: Path, *, now: float = 0.0) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(FolderCollector(folder, fresh_seconds=FRESH, clock=lambda: now))
    return {
        sample.name + json.dumps(sample.labels): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def test_what_dead_processes_counted_stays_in_the_sum_and_their_files_do_not(folder):
    for accepted in (1, 2, 4):
        count_in_a_process_that_dies(folder, accepted=accepted, seconds=0.004)
    for _ in range(2):  # a second look adds nothing twice
        samples = read_samples(folder)
        assert samples["viewcounter_events_accepted_total{}"] == 7
        assert samples['viewcounter_events_flushed_total{"outcome": "counted"}'] == 7
        assert samples['viewcounter_append_seconds_bucket{"le": "0.005"}'] == 3
        assert samples['viewcounter_append_seconds_bucket{"le": "0.0025"}'] == 0
        assert samples["viewcounter_append_seconds_count{}"] == 3
    assert "viewcounter_buffered_events{}" not in samples
    assert sorted(path.name for path in folder.glob("*.db")) == [
        "counter_0.db",
        "gauge_mostrecent_0.db",
        "histogram_0.db",
    ]


def test_the_first_group_of_a_host_starts_from_zero(folder):
    count_in_a_process_that_dies(folder, accepted=3, seconds=0.1)
    start_again(folder)
    assert read_samples(folder) == {}


def test_a_group_that_starts_beside_a_living_one_keeps_what_the_dead_have_counted(folder):
    count_in_a_process_that_dies(folder, accepted=3, seconds=0.1)
    with subprocess.Popen(["sleep", "60"]) as living:
        MmapedDict(str(folder / f"counter_{living.pid}.db")).close()
        start_again(folder)
        assert read_samples(folder)["viewcounter_events_accepted_total{}"] == 3
        living.kill()


def test_of_a_measurement_the_newest_counts_and_an_old_one_is_not_served(folder):
    now = time.time()
    write_measurement(folder / "gauge_mostrecent_1.db", 10.0, at=now - 30)
    write_measurement(folder / "gauge_mostrecent_0.db", 99.0, at=now - 40)
    assert read_samples(folder, now=now) == {'measured{"partition": "3"}': 10.0}
    assert read_samples(folder, now=now + 31) == {}


def test_the_newest_measurement_outlives_the_process_that_made_it(folder):
    now = time.time()
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    write_measurement(folder / f"gauge_mostrecent_{gone.pid}.db", 5.0, at=now)
    fold_dead_processes(folder)
    assert [path.name for path in folder.glob("*.db")] == ["gauge_mostrecent_0.db"]
    assert read_samples(folder, now=now) == {'measured{"partition": "3"}': 5.0}


def test_a_file_that_has_just_been_made_is_empty_and_harmless(folder):
    (folder / "counter_1.db").touch()
    assert read_samples(folder) == {}


def test_a_lock_that_is_not_let_go_is_an_error_not_a_wait_without_end(folder, monkeypatch):
    monkeypatch.setattr("runtime.metric_files.LOCK_WAIT_SECONDS", 0.02)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(MetricFilesLocked):
            read_samples(folder)
    assert read_samples(folder) == {}
