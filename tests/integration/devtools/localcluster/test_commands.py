"""bin/up, bin/status and bin/down with the whole of viewcounter, as an operator uses them."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from configservice.registry.services import ServiceKind, read_services
from configservice.topology.cluster_cache import ClusterCache
from devtools.local.access import EXAMPLE_VIDEO
from devtools.localcluster.applications import PROJECT_ROOT
from devtools.localcluster.control import SUPERVISOR_LOG
from devtools.localcluster.records import find_process, read_records
from devtools.localcluster.spec import STATUS_KEY, TRYOUT_KEY
from devtools.localcluster.state import StateFolder, read_json
from devtools.localcluster.status import LocalHealth, read_status
from devtools.localcluster.supervisor import find_supervisor
from tests import processes
from tests.pace import limit
from tests.processes import lives
from tests.waiting import wait_until, wait_while

COMMAND_SECONDS = 180
IDLE_CONNECTIONS, IDLE_CONNECTIONS_TO_CONTROL = 2, 3
"""Of a process to a server, while nothing is asked. A config service has three to the control database: its lease, its
questions, and the listener of its signer."""
IDLE_CONNECTIONS_OF_PULLERS = 4
"""Their lease, drains, watermarks and probes are at work at the same time."""
Run = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def run(state_dir: Path) -> Run:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VIEWCOUNTER_")}
    sizes = {
        "VIEWCOUNTER_LOCAL_SHARDS": "1",
        "VIEWCOUNTER_LOCAL_PARTITIONS": "4",
        "VIEWCOUNTER_LOCAL_WORKER_PROCESSES": "1",
    }

    def run_script(name: str, *arguments: str) -> subprocess.CompletedProcess:
        environment = inherited | sizes | {"VIEWCOUNTER_STATE_DIR": str(state_dir)}
        return processes.run(
            [PROJECT_ROOT / "bin" / name, *arguments], environment=environment, within_seconds=COMMAND_SECONDS
        )

    return run_script


def run_status(run: Run) -> tuple[int, dict]:
    finished = run("status", "--json")
    return finished.returncode, json.loads(finished.stdout)


def read_kinds(state: StateFolder) -> list[ServiceKind]:
    """Of the processes in the service registry."""
    lines = dict(line.split("=", 1) for line in state.environment_file.read_text().splitlines() if "=" in line)
    cluster_cache = ClusterCache(lines["VIEWCOUNTER_CACHE_URL"], lines["VIEWCOUNTER_CLUSTER_ID"])
    return [r.service.kind for r in read_services(cluster_cache, lost_seconds=10.0)]


def find_all_processes(state_dir: Path) -> list[psutil.Process]:
    roots = [find_process(record) for record in read_records(StateFolder(state_dir))]
    return [p for root in roots if root for p in (root, *root.children(recursive=True))]


def check_what_people_copy(printed: str, state: StateFolder) -> None:
    """The requests that `bin/up` prints, and the block of the README: both count an event and read it."""
    key = state.find_secret(TRYOUT_KEY)
    lines = [line for line in printed.splitlines() if line.startswith("  curl ")]
    assert [key in line for line in lines] == [True, True]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (state.tryout_file, state.get_secret_path(TRYOUT_KEY))] == [
        0o600,
        0o600,
    ]
    assert key not in state.get_log_path(SUPERVISOR_LOG).read_text()
    readme = (PROJECT_ROOT / "README.md").read_text().partition("## Use it")[2].split("```")[1]
    block = readme.removeprefix("bash").replace(".local/tryout", str(state.tryout_file))
    # Of another video: counts are kept for a second, and these follow each other faster than people copy.
    for text in ("\n".join(lines), block.replace(EXAMPLE_VIDEO, "another")):
        answers = run_in_shell(text, state)
        assert ['"applied":true' in answers, '"view":1' in answers] == [True, True], answers


def run_in_shell(text: str, state: StateFolder) -> str:
    done = processes.run(
        ["bash", "-eu", "-c", text],
        environment=os.environ | {"VIEWCOUNTER_STATE_DIR": str(state.root)},
        within_seconds=COMMAND_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def count_connections(processes: list[psutil.Process], ports: set[int]) -> Counter[tuple[int, int]]:
    """Connections of each process to each of these ports, of processes that are no server themselves."""
    counts: Counter[tuple[int, int]] = Counter()
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a server's process that has just ended
            if not process.name().startswith("postgres"):
                counts.update(
                    (process.pid, connection.raddr.port)
                    for connection in process.net_connections("tcp")
                    if connection.raddr
                    and connection.raddr.port in ports
                    and connection.status == psutil.CONN_ESTABLISHED
                )
    return counts


def find_excess(counts: Counter[tuple[int, int]], limits: dict[int, int]) -> dict[tuple[int, int], int]:
    return {
        (pid, port): count
        for (pid, port), count in counts.items()
        if count > (IDLE_CONNECTIONS_OF_PULLERS if "run_puller" in psutil.Process(pid).cmdline() else limits[port])
    }


def find_loaded_by_status(state: StateFolder) -> set[str]:
    """Names of the modules that the command imports."""
    lines = processes.run(
        [sys.executable, "-X", "importtime", "manage.py", "status"],
        environment=os.environ
        | {"VIEWCOUNTER_STATE_DIR": str(state.root), "VIEWCOUNTER_ENV_FILE": str(state.environment_file)},
        within_seconds=COMMAND_SECONDS,
    ).stderr.splitlines()
    return {line.rpartition("|")[2].strip() for line in lines}


def describe_report(answer: tuple[int, dict]) -> tuple[object, ...]:
    """Exit status, the shards, and of the lag what does not change from moment to moment."""
    code, status = answer
    partitions = [(p["partition"], p["shard"], p["state"], sorted(p)) for p in status["log_lag"]["partitions"]]
    return (
        code,
        status["shards"],
        status["shards_error"],
        sorted(status["log_lag"]),
        partitions,
        status["log_lag_error"],
    )


def test_up_status_faults_and_down(run: Run, state_dir: Path):
    """One start serves all of it: starting everything is the expensive part."""
    state = StateFolder(state_dir)
    assert run("status").returncode == 1

    up = run("up", "--detach")
    assert up.returncode == 0, up.stdout + up.stderr
    code, status = run_status(run)
    assert (code, status["health"], status["phase"]) == (0, "ok", "ready")
    names = ["log", "broker", "control", "shard1a", "shard1b", "web", "worker", "beat", "beat2"]
    names += ["configservice1", "configservice2", "shardproxy", "mover1"]
    assert [process["name"] for process in status["processes"]] == names
    assert [len(process["pull_pids"]) for process in status["processes"] if process["name"] == "worker"] == [2]
    assert [(d["name"], d["role"]) for d in status["databases"]] == [
        ("control", "primary"),
        ("shard1a", "primary"),
        ("shard1b", "replica"),
    ]
    [shard] = status["shards"]
    assert (shard["name"], shard["status"], shard["condition"]) == ("shard1", "up", "well")
    assert (shard["primary"], shard["partition_count"], shard["moving"]) == ("shard1a", 4, {"out": 0, "into": 0})
    kinds = set(ServiceKind) - {ServiceKind.ADMIN}  # the gateway of a local cluster serves it
    wait_until(lambda: set(read_kinds(state)) == kinds, what="every kind of service to be registered")
    assert [p["partition"] for p in status["log_lag"]["partitions"]] == [0, 1, 2, 3]
    assert (status["log_lag"]["events_behind"], status["log_lag"]["unread_partitions"]) == (0, 0)
    assert status["urls"]["events"] in up.stdout
    check_what_people_copy(up.stdout, state)
    started_at = {record.name: record.created_at_seconds for record in read_records(state)}
    assert max(started_at["web"], started_at["worker"]) < started_at["beat"]  # beside the databases, not after them
    assert [p for p in find_all_processes(state_dir) if "logical replication" in " ".join(p.cmdline())] == []
    limits = {
        server["port"]: IDLE_CONNECTIONS if server["shard"] else IDLE_CONNECTIONS_TO_CONTROL
        for server in read_json(state.layout_file)["databases"]
    }
    wait_while(
        lambda: find_excess(count_connections(find_all_processes(state_dir), set(limits)), limits),
        what="idle connections, by process and port",
    )

    # A gateway that answers spares the command all that it would load to look for itself; the answers are the same.
    assert find_loaded_by_status(state) & {"django.db.models", "redis", "pydantic", "numpy"} == set()
    state.get_secret_path(STATUS_KEY).rename(state.secrets / "elsewhere")
    assert "django.db.models" in find_loaded_by_status(state)
    assert describe_report(run_status(run)) == describe_report((code, status))
    (state.secrets / "elsewhere").rename(state.get_secret_path(STATUS_KEY))

    again = run("up", "--detach")
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, "already running")
    assert find_supervisor(state).pid == status["supervisor_pid"]

    # Every process of the worker and the master of the web workers are killed: both come back by themselves.
    pids = {process["name"]: process["pid"] for process in status["processes"]}
    victims = [*psutil.Process(pids["worker"]).children(recursive=True), psutil.Process(pids["worker"])]
    for victim in (*victims, psutil.Process(pids["web"])):
        victim.kill()
    wait_until(
        lambda: {"worker", "web"} <= {r.name for r in read_records(state) if r.restarts == 1 and find_process(r)}
    )
    wait_until(lambda: read_status(state).health is LocalHealth.OK)

    os.kill(next(r for r in read_records(state) if r.name == "shard1b").pid, signal.SIGSTOP)
    code, status = run_status(run)
    assert (code, status["health"]) == (3, "degraded")

    members = find_all_processes(state_dir)
    os.kill(next(r for r in read_records(state) if r.name == "shard1b").pid, signal.SIGCONT)
    os.kill(status["supervisor_pid"], signal.SIGKILL)
    wait_until(lambda: not any(lives(process) for process in members))

    assert run("up", "--detach").returncode == 0
    members = find_all_processes(state_dir)
    down = run("down")
    assert (down.returncode, down.stdout) == (0, "stopped\n")
    assert [process for process in members if lives(process)] == []
    assert read_status(state).health is LocalHealth.NOT_RUNNING


def test_up_that_cannot_start_says_why_and_leaves_nothing(run: Run, state_dir: Path, monkeypatch: pytest.MonkeyPatch):
    run("status")
    state = StateFolder(state_dir)
    log_dir, ready_seconds = state.data / "log", limit(5)
    log_dir.mkdir()
    (log_dir / "appendonlydir").write_text("not a folder")
    with state.environment_file.open("a") as settings:
        settings.write(f"VIEWCOUNTER_LOCAL_READY_SECONDS={ready_seconds:.0f}\n")
    up = run("up", "--detach")
    assert up.returncode == 1
    assert f"log was not ready within {ready_seconds:.0f} s" in up.stdout
    assert "appendonlydir" in up.stdout
    assert find_all_processes(state_dir) == []
    assert find_supervisor(state) is None


def test_deploy_check_has_nothing_to_say_of_the_settings_that_up_makes(state_dir: Path):
    StateFolder(state_dir).create()
    StateFolder(state_dir).get_secret_path("secret_key").write_text("k" * 48)  # as an earlier release made it
    assert processes.run([sys.executable, "-m", "devtools.localcluster", state_dir], within_seconds=60).returncode == 0
    checked = processes.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        environment={"PATH": os.environ["PATH"], "VIEWCOUNTER_STATE_DIR": str(state_dir)},
        within_seconds=60,
    )
    assert checked.returncode == 0, checked.stderr
