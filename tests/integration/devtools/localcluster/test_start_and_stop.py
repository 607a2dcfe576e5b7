"""A start works after any kind of stop, and a stop leaves no process."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from devtools.localcluster import ClusterSpec, LocalCluster, rejoiner, run_temporary_cluster
from devtools.localcluster.binaries import find_postgres_dir
from devtools.localcluster.control import purge
from devtools.localcluster.errors import AlreadyRunning, ProgramFailed, SettingsContradict, StopRequested
from devtools.localcluster.placement import find_moved_folder
from devtools.localcluster.ports import LOOPBACK, read_ports
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.records import find_process, read_records
from devtools.localcluster.state import StateFolder, read_json
from devtools.localcluster.status import LocalHealth, read_status
from tests.integration.devtools.localcluster.conftest import ONE_DATABASE, ONE_SHARD
from tests.pace import limit
from tests.processes import lives, running
from tests.waiting import wait_until

ATTEMPT_SECONDS = 60.0
SUPERVISOR = """
import sys, time
from pathlib import Path
from devtools.localcluster import ClusterSpec, LocalCluster, rejoiner, run_temporary_cluster
cluster = LocalCluster(Path(sys.argv[1]), spec=ClusterSpec(shards=1, replicas_per_shard=1, partitions=4))
cluster.start_servers()
print("ready", flush=True)
time.sleep(600)
"""


@contextmanager
def run_supervisor(state_dir: Path) -> Iterator[subprocess.Popen]:
    """A cluster supervised by another process, servers ready."""
    with running([sys.executable, "-c", SUPERVISOR, str(state_dir)]) as process:
        assert process.stdout.readline() == "ready\n"
        yield process


def find_all_processes(state_dir: Path) -> list[psutil.Process]:
    roots = [find_process(record) for record in read_records(StateFolder(state_dir))]
    return [p for root in roots if root for p in (root, *root.children(recursive=True))]


def test_a_stop_leaves_no_process_and_a_second_start_finds_the_data(state_dir: Path):
    with LocalCluster(state_dir, spec=ONE_SHARD) as cluster:
        cluster.start_servers()
        processes = find_all_processes(state_dir)
        assert len({p.pid for p in processes}) > 5
        with cluster.database("control").connect() as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        environment = cluster.environment
    assert [p for p in processes if lives(p)] == []
    assert read_records(StateFolder(state_dir)) == []
    with LocalCluster(state_dir, spec=ONE_SHARD) as cluster:
        cluster.start_servers()
        with cluster.database("control").connect() as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        assert cluster.environment == environment


def test_only_the_owner_reads_secrets_settings_and_logs(state_dir: Path):
    with LocalCluster(state_dir, spec=ONE_DATABASE) as cluster:
        cluster.start_servers()
    state = StateFolder(state_dir)
    secrets = [path for path in state.secrets.rglob("*") if path.is_file()]
    assert {path.name for path in secrets} >= {"secret_key", "postgres_password", "control_password", "log_password"}
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (state.secrets, state.logs, state.run)} == {0o700}
    files = [*secrets, state.environment_file, state.ports_file, *state.logs.iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    # Root lets the account of PostgreSQL pass through, and nothing more.
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (state.root, state.data)} <= {0o700, 0o710}


def test_killing_the_supervisor_leaves_no_process_and_the_next_start_works(state_dir: Path):
    with run_supervisor(state_dir) as supervisor:
        processes = find_all_processes(state_dir)
        supervisor.kill()
        supervisor.wait()
        wait_until(lambda: not any(lives(p) for p in processes))
    with LocalCluster(state_dir, spec=ONE_SHARD) as cluster:
        cluster.start_servers()
        assert cluster.database("shard1b").find_obstacle() is None


def test_servers_frozen_while_the_supervisor_was_killed_are_ended_by_the_next_start(state_dir: Path):
    with run_supervisor(state_dir) as supervisor:
        frozen = find_all_processes(state_dir)
        for process in frozen:
            process.suspend()
        supervisor.kill()
        supervisor.wait()
    reported: list[str] = []
    with LocalCluster(state_dir, spec=ONE_SHARD, report=reported.append) as cluster:
        cluster.start_servers()
        assert [p for p in frozen if lives(p)] == []
        assert cluster.database("shard1b").find_obstacle() is None
    assert "ended control, left by an unclean stop" in reported


def test_a_pid_file_that_names_a_foreign_process_does_not_block_the_start(state_dir: Path):
    with LocalCluster(state_dir, spec=ONE_DATABASE) as cluster:
        cluster.start_servers()
        cluster.server("control").kill()
        lock = cluster.database("control").data_dir / "postmaster.pid"
        lines = lock.read_text().split("\n")
        # A living process of the same account, which PostgreSQL itself would take for the server.
        lines[0] = str(cluster.server("shard1a").pid)
        lock.write_text("\n".join(lines))
        cluster.server("control").start()
        cluster.server("control").wait_ready()


def test_preparing_waits_for_a_database_that_is_still_starting(state_dir: Path):
    with LocalCluster(state_dir, spec=ONE_DATABASE) as cluster, ThreadPoolExecutor() as pool:
        cluster.start_servers()
        control = cluster.database("control")
        control.stop()
        with pytest.raises(ProgramFailed, match="the control database does not answer"):
            cluster.run_command("prepare", "--partitions", "4", "--instances", str(cluster.state.instances_file))
        with socket.create_server((LOOPBACK, control.port)) as refusing:
            refusing.settimeout(ATTEMPT_SECONDS)
            preparing = pool.submit(cluster.prepare)
            for _ in range(2):  # the second one only comes from somebody who waits
                refusing.accept()[0].close()
        control.start()
        preparing.result()
        with control.session() as connection:
            assert connection.execute("SELECT count(*) FROM configservice_partitionassignment").fetchone() == (4,)


def test_a_copy_that_was_interrupted_is_begun_anew(state_dir: Path):
    with LocalCluster(state_dir, spec=ONE_SHARD) as cluster:
        cluster.start_servers()
        replica = cluster.database("shard1b")
    half = replica.data_dir.with_name("shard1b.new")
    replica.data_dir.rename(half)
    (half / "PG_VERSION").unlink()
    with LocalCluster(state_dir, spec=ONE_SHARD) as cluster:
        cluster.start_servers()
        assert cluster.database("shard1b").find_obstacle() is None
        assert not half.exists()


def test_a_start_after_a_failover_finds_the_roles_as_they_were_and_serves(state_dir: Path):
    """First with the old primary down since, then after an unclean stop in the middle of a switchover."""
    with LocalCluster(state_dir, spec=ONE_SHARD) as cluster:
        cluster.start_servers()
        old, new = cluster.database("shard1a"), cluster.database("shard1b")
        operate(old, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
        await_rows(new, [1])
        old.kill()
        # As the config service leaves it where a loss blocks: commits wait for the one that is away.
        names = """ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 ("shard1a")'"""
        operate(new, "SELECT pg_promote()", names, "SELECT pg_reload_conf()")
    with LocalCluster(state_dir, spec=ONE_SHARD) as cluster:
        cluster.start_servers()
        old, new = cluster.database("shard1a"), cluster.database("shard1b")
        assert read_roles(cluster) == {"shard1a": "replica", "shard1b": "primary"}
        operate(new, "INSERT INTO kept VALUES (2)")
        await_rows(old, [1, 2])
        detached = "ALTER SYSTEM SET primary_conninfo = 'host=/detached-by-failover'"
        operate(new, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        operate(old, detached, "SELECT pg_reload_conf()")
        old.kill()
        new.kill()
        assert (new.data_dir / "postmaster.pid").exists()
    with LocalCluster(state_dir, spec=ONE_SHARD) as cluster:
        cluster.start_servers()
        assert read_roles(cluster) == {"shard1a": "replica", "shard1b": "primary"}
        operate(cluster.database("shard1b"), "INSERT INTO kept VALUES (3)")
        await_rows(cluster.database("shard1a"), [1, 2, 3])


def operate(server: PostgresServer, *statements: str) -> None:
    with server.connect(user="postgres", database="postgres") as connection:
        for statement in statements:
            connection.execute(statement)


def await_rows(server: PostgresServer, rows: list[int]) -> None:
    def has_them() -> bool:
        try:
            with server.connect(user="postgres", database="postgres") as connection:
                return [n for (n,) in connection.execute("SELECT n FROM kept ORDER BY n")] == rows
        except psycopg.Error:  # the table is not there yet
            return False

    wait_until(has_them)


def read_roles(cluster: LocalCluster) -> dict[str, str]:
    """As `prepare` tells them to the control database."""
    [shard] = read_json(cluster.state.instances_file)["shards"]
    return {instance["name"]: instance["role"] for instance in shard["instances"]}


def test_a_remembered_port_that_somebody_else_took_is_replaced(state_dir: Path):
    with LocalCluster(state_dir, spec=ONE_DATABASE) as cluster:
        cluster.start_servers()
    before = read_ports(StateFolder(state_dir))
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", before["shard1a"]))
        thief.listen()
        with LocalCluster(state_dir, spec=ONE_DATABASE) as cluster:
            cluster.start_servers()
            after = read_ports(StateFolder(state_dir))
            assert cluster.database("shard1a").port == after["shard1a"]
    assert {name for name in before if before[name] != after[name]} == {"shard1a"}


def test_one_state_folder_has_one_supervisor(state_dir: Path):
    with LocalCluster(state_dir, spec=ONE_DATABASE) as cluster:
        cluster.start_servers()
        pid = cluster.server("control").pid
        with LocalCluster(state_dir, spec=ONE_DATABASE) as other, pytest.raises(AlreadyRunning):
            other.start_servers()
        assert cluster.server("control").pid == pid
        assert cluster.server("control").find_obstacle() is None


def test_two_clusters_run_side_by_side(state_dir: Path):
    with LocalCluster(state_dir, spec=ONE_DATABASE) as one, run_temporary_cluster(spec=ONE_DATABASE) as other:
        one.start_servers()
        other.start_servers()
        assert set(read_ports(one.state).values()) & set(read_ports(other.state).values()) == set()
        with one.valkey("log").connect() as client:
            client.set("only in", "one")
        with other.valkey("log").connect() as client:
            assert client.get("only in") is None
        one.stop()
        assert all(server.find_obstacle() is None for server in other.layout.servers.values())


def test_a_folder_that_admits_only_its_owner_can_hold_the_cluster_and_its_programs(state_dir: Path):
    private = Path(tempfile.mkdtemp(prefix="viewcounter-private-"))
    install = private / "pginstall"
    install.symlink_to(find_postgres_dir(None).parent)
    spec = ClusterSpec(shards=1, replicas_per_shard=1, partitions=4, postgres_bin_dir=install / "bin")
    state = StateFolder(private / ".local")
    try:
        with LocalCluster(state.root, spec=spec) as cluster:
            cluster.start_servers()
            assert cluster.database("shard1b").find_obstacle() is None
        moved = find_moved_folder(state)
        if os.geteuid() == 0:
            assert {path.name.split("-")[0] for path in moved.iterdir()} == {"data", "programs"}
            assert stat.S_IMODE(moved.stat().st_mode) == 0o710
        else:
            assert moved is None
    finally:
        purge(state)
        shutil.rmtree(private)
    assert moved is None or not moved.exists()


def test_a_server_given_by_address_is_used_and_not_started(state_dir: Path):
    given = {"VIEWCOUNTER_LOG_URL": "redis://logs.example:6379/0"}
    with LocalCluster(state_dir, spec=ONE_DATABASE, outer=given) as cluster:
        cluster.start_servers()
        assert set(cluster.layout.servers) == {"broker", "control", "shard1a"}
        assert cluster.environment["VIEWCOUNTER_LOG_URL"] == "redis://logs.example:6379/0"
    assert "VIEWCOUNTER_LOG_URL=redis://logs.example:6379/0" in StateFolder(state_dir).environment_file.read_text()


def test_a_broker_given_without_its_cache_is_refused_before_anything_starts(state_dir: Path):
    given = {"VIEWCOUNTER_BROKER_URL": "redis://broker.example:6379/0"}
    with LocalCluster(state_dir, spec=ONE_DATABASE, outer=given) as cluster, pytest.raises(SettingsContradict):
        cluster.start_servers()
    assert read_records(StateFolder(state_dir)) == []


def test_status_names_what_is_down_and_what_is_paused(state_dir: Path):
    state = StateFolder(state_dir)
    assert read_status(state).health is LocalHealth.NOT_RUNNING
    with LocalCluster(state_dir, spec=ONE_SHARD) as cluster:
        cluster.start_servers()
        cluster.server("shard1b").stop()
        cluster.server("log").pause()
        status = read_status(state)
        cluster.server("log").resume()
        processes = {process.name: process for process in status.processes}
        databases = {database.name: database for database in status.databases}
        assert status.supervisor_pid == os.getpid()
        assert processes["control"].pid == cluster.server("control").pid
        assert (processes["shard1b"].pid, processes["log"].is_paused) == (None, True)
        assert (databases["shard1a"].role, databases["shard1a"].is_up) == ("primary", True)
        assert (databases["shard1b"].role, databases["shard1b"].is_up) == ("unknown", False)
        cluster.server("shard1b").start()
        cluster.server("shard1b").wait_ready()

        def replica_has_everything() -> bool:
            replica = next(d for d in read_status(state).databases if d.name == "shard1b")
            return (replica.role, replica.is_streaming, replica.lag_bytes, replica.lag_seconds) == (
                "replica",
                True,
                0,
                0.0,
            )

        wait_until(replica_has_everything)
    assert read_status(state).health is LocalHealth.NOT_RUNNING


def test_a_start_that_is_told_to_stop_gives_up_and_leaves_nothing(state_dir: Path):
    with LocalCluster(state_dir, spec=ONE_SHARD, report=lambda _: cluster.cancel()) as cluster:
        with pytest.raises(StopRequested):
            cluster.start_servers()
        processes = find_all_processes(state_dir)
        assert processes != []
    assert [p for p in processes if lives(p)] == []


def test_a_supervisor_killed_during_a_start_leaves_nothing_that_stops_the_next(state_dir: Path):
    with running([sys.executable, "-c", SUPERVISOR, str(state_dir)]) as process:
        wait_until((state_dir / "data" / "control.new").exists)
        process.kill()
        process.wait()
    with LocalCluster(state_dir, spec=ONE_SHARD) as cluster:
        cluster.start_servers()
        assert cluster.database("shard1b").find_obstacle() is None


@pytest.mark.long(minutes=1)
def test_an_old_primary_that_does_not_start_after_a_rewind_is_copied(state_dir: Path, monkeypatch: pytest.MonkeyPatch):
    rejoin = rejoiner.rejoin

    def spoil_rewound(server: PostgresServer, *, by_copy: bool, **options) -> None:
        rejoin(server, by_copy=by_copy, **options)
        if not by_copy:
            (server.data_dir / "global" / "pg_control").unlink()

    monkeypatch.setattr(rejoiner, "rejoin", spoil_rewound)
    monkeypatch.setattr(rejoiner, "READY_SECONDS", limit(3.0))
    with LocalCluster(state_dir, spec=ONE_SHARD) as cluster:
        cluster.start_servers()
        old, new = cluster.layout.shards["shard1"]
        with new.connect(user="postgres") as connection:
            connection.execute("SELECT pg_promote()")
        wait_until(lambda: follows(old), what="the old primary as a replica")


def follows(server: PostgresServer) -> bool:
    try:
        with server.connect(user="postgres") as connection:
            return connection.execute("SELECT count(*) FROM pg_stat_wal_receiver").fetchone() == (1,)
    except psycopg.Error:
        return False
