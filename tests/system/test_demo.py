"""`manage.py demo`: with a cluster of its own, which it removes, and on a running cluster, which it leaves running."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.localcluster.process import OWNER_VARIABLE
from devtools.localcluster.state import StateFolder
from devtools.localcluster.supervisor import find_supervisor
from devtools.localcluster.temporary import create_temporary_state_dir
from tests.processes import run

pytestmark = pytest.mark.system

DEMO_SECONDS = 180
REDUCED = ("--exit", "--json", "--limit-days", "2", "--scale", "50000")
SENT = 5650


@pytest.fixture
def state_dir() -> Iterator[Path]:
    with create_temporary_state_dir() as state_dir:
        yield state_dir


def run_python(*command: str, environment: dict[str, str]):
    return run([sys.executable, *command], environment=environment, within_seconds=DEMO_SECONDS)


def assert_exact(result) -> None:
    assert result.returncode == 0, result.stderr + result.stdout
    report = json.loads(result.stdout)
    assert (report["exact"], report["wrong_count"], report["sent"]) == (True, 0, SENT)


def test_demo_starts_a_cluster_reports_and_leaves_no_process(state_dir):
    outer = {name: value for name, value in os.environ.items() if not name.startswith("VIEWCOUNTER_")}
    environment = outer | {"VIEWCOUNTER_ENV_FILE": str(state_dir / "env")}
    assert run_python("-m", "devtools.localcluster", str(state_dir), environment=environment).returncode == 0
    result = run_python("manage.py", "demo", *REDUCED, environment=environment)
    assert_exact(result)
    password = (state_dir / "secrets" / "admin_password").read_text().strip()
    for shown in ("/v1/docs", "/admin/", password, "API key"):
        assert shown in result.stderr
    assert find_supervisor(StateFolder(state_dir)) is None
    assert list_processes_of(state_dir) == []


def test_demo_uses_a_running_cluster_and_leaves_it_running(shared_cluster):
    pids = {name: member.pid for name, member in shared_cluster.layout.applications.items()}
    result = run_python("manage.py", "demo", *REDUCED, environment=shared_cluster.environment)
    assert_exact(result)
    assert f"using the cluster that runs at {shared_cluster.web_url}" in result.stderr
    assert {name: member.pid for name, member in shared_cluster.layout.applications.items()} == pids


def list_processes_of(state_dir: Path) -> list[int]:
    mark = f"{OWNER_VARIABLE}={state_dir}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it has just ended, or is another user's
            continue
    return found
