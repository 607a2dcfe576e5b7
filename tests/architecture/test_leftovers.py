"""A process that outlives its test is killed, and fails it."""

import os
import re
import sys
from pathlib import Path

import psutil

from tests.processes import run

ROOT = Path(__file__).resolve().parents[2]

CARELESS = """
import subprocess, sys, time
import pytest

def test_that_leaves_a_process():
    subprocess.Popen(["sleep", "98701.RUN"])

def test_that_leaves_a_grandchild_whose_parent_is_gone():
    code = "import subprocess; subprocess.Popen(['sleep', '98702.RUN'], start_new_session=True)"
    subprocess.run([sys.executable, "-c", code], check=True)

@pytest.mark.timeout(0.2)
def test_that_runs_into_its_limit():
    subprocess.run(["sleep", "98703.RUN"])

def test_that_cleans_up():
    subprocess.Popen(["sleep", "98704.RUN"]).kill()

@pytest.fixture(scope="session")
def careless():
    subprocess.Popen(["sleep", "98705.RUN"])

@pytest.mark.long(minutes=0.1)
def test_long():
    raise AssertionError

def test_whose_fixture_leaves_a_process(careless):
    pass

def test_last():
    pass
"""


def test_a_process_that_outlives_its_test_is_killed_and_fails_it_by_name(tmp_path: Path):
    file = tmp_path / "test_careless.py"
    run_id = os.getpid()  # another run on this machine has processes of its own
    file.write_text(CARELESS.replace("RUN", str(run_id)))
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", file]
    output = run(command, within_seconds=60.0).stdout
    told = re.findall(r"\d+ (sleep \d+)\.\d+, started by \S*::(\w+)", output)
    assert set(told) == {
        ("sleep 98701", "test_that_leaves_a_process"),
        ("sleep 98702", "test_that_leaves_a_grandchild_whose_parent_is_gone"),
        ("sleep 98705", "test_whose_fixture_leaves_a_process"),
    }
    assert "1 failed, 5 passed, 1 deselected, 2 errors" in output
    assert "1 long tests were left out" in output
    running = {" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])}
    assert not any(command.startswith("sleep 9870") and command.endswith(f".{run_id}") for command in running)
