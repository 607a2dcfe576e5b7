"""Runs the application of `peers` on a database of its own, on a primary of the measured cluster."""

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from devtools.bench.usage import list_primaries
from devtools.localcluster import LocalCluster
from devtools.localcluster.ports import LOOPBACK, assign_ports
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.process import OWNER_VARIABLE, Launch, kill_group, run_tool, spawn
from devtools.localcluster.spec import SERVICE_ROLE
from devtools.localcluster.waiting import Waiter
from viewcounter.config.project import PROJECT_ROOT

DATABASE = "peers"
NAME = "peers"
PREPARE_SECONDS = 60.0
READY_SECONDS = 30.0
STOP_SECONDS = 10.0
ANSWER_SECONDS = 2.0
_PROJECT = "devtools.bench.peers"
_COUNT = "SELECT coalesce(sum(count), 0)::bigint FROM peers_videocount"


@dataclass(frozen=True, slots=True)
class PeerSite:
    """`pid`: of gunicorn's master. `server`: a primary, whose replicas replicate this database too."""

    server: PostgresServer
    replicas: tuple[PostgresServer, ...]
    address: tuple[str, int]
    pid: int

    @property
    def database_pids(self) -> dict[str, list[int]]:
        return {"database": [self.server.pid], "replicas": [replica.pid for replica in self.replicas]}

    def count(self) -> int:
        """The sum of its counters."""
        with self.server.connect(database=DATABASE) as connection:
            [row] = connection.execute(_COUNT).fetchall()
        return int(row[0])


@contextmanager
def run_peer_site(cluster: LocalCluster) -> Iterator[PeerSite]:
    """Process and database are removed afterwards. Raises LocalClusterError."""
    server = list_primaries(cluster)[0]
    [instances] = [servers for servers in cluster.layout.shards.values() if server in servers]
    replicas = [instance for instance in instances if instance is not server]
    with peer_database(server):
        environment = _build_environment(cluster, server)
        run_tool(
            _build_launch(cluster, environment, "manage.py", "migrate", "--run-syncdb", "--verbosity", "0"),
            within_seconds=PREPARE_SECONDS,
        )
        port = assign_ports(cluster.state, [NAME], replace_taken=False)[NAME]
        process = spawn(
            _build_launch(
                cluster, environment, "-m", "gunicorn", "--config", f"python:{_PROJECT}.gunicorn_conf",
                "--bind", f"{LOOPBACK}:{port}", f"{_PROJECT}.wsgi:application",
            ),
            log=cluster.state.get_log_path(NAME),
        )  # fmt: skip
        try:
            Waiter().wait_until(
                lambda: _find_obstacle(process, port), what="the application of the peers", within_seconds=READY_SECONDS
            )
            yield PeerSite(server, tuple(replicas), (LOOPBACK, port), process.pid)
        finally:
            _stop(process)


@contextmanager
def peer_database(server: PostgresServer) -> Iterator[None]:
    """An empty database. That of an earlier run that was killed is dropped first."""
    _drop(server)
    with server.session() as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    try:
        yield
    finally:
        _drop(server)


def _drop(server: PostgresServer) -> None:
    with server.session() as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def _build_environment(cluster: LocalCluster, server: PostgresServer) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("VIEWCOUNTER_", "PG"))}
    return inherited | {
        "DJANGO_SETTINGS_MODULE": f"{_PROJECT}.settings",
        "PEERS_SECRET_KEY": cluster.state.get_secret("peers_secret_key"),
        "PGHOST": LOOPBACK,
        "PGPORT": str(server.port),
        "PGUSER": SERVICE_ROLE,
        "PGPASSWORD": cluster.state.get_secret("shard_password"),
    }


def _build_launch(cluster: LocalCluster, environment: Mapping[str, str], *arguments: str) -> Launch:
    return Launch(
        argv=(sys.executable, *arguments),
        cwd=PROJECT_ROOT,
        environment={**environment, OWNER_VARIABLE: str(cluster.state.root)},
        death_signal=signal.SIGTERM,
    )


def _find_obstacle(process: "subprocess.Popen[bytes]", port: int) -> str | None:
    if process.poll() is not None:
        return f"the process ended with status {process.returncode}"
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/healthz")
        status: Any = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()
    return None if status == http.client.OK else f"GET /healthz answers {status}"


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        kill_group(process.pid)
        process.wait()
