"""Reads the status of a cluster, from any process: records on disk, and a query to each database. Writes nothing."""

import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psutil
import psycopg

from devtools.localcluster.ports import LOOPBACK
from devtools.localcluster.records import find_process, read_records
from devtools.localcluster.spec import SERVICE_ROLE, WORKER
from devtools.localcluster.state import StateFolder, read_json
from devtools.localcluster.supervisor import Phase, find_supervisor

CONNECT_SECONDS = 2
_READ_POSITION = """
    SELECT pg_is_in_recovery(),
           CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
           extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8,
           (SELECT status FROM pg_stat_wal_receiver)
"""


class LocalHealth(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    NOT_RUNNING = "not running"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """`pid` and `uptime_seconds` are None when it does not run. `pull_pids`: of the pull processes of a worker."""

    name: str
    pid: int | None
    uptime_seconds: float | None
    restarts: int
    is_paused: bool
    pull_pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """`position` in the WAL: written by a primary, replayed by a replica. A lag is None if it is unknown."""

    name: str
    shard: str
    role: str
    is_up: bool
    position: str | None = None
    lag_bytes: int | None = None
    lag_seconds: float | None = None
    is_streaming: bool | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    health: LocalHealth
    phase: str
    supervisor_pid: int | None
    web_url: str
    processes: tuple[ProcessStatus, ...] = ()
    databases: tuple[DatabaseStatus, ...] = ()


def read_status(state: StateFolder) -> ClusterStatus:
    """Bounded in time: one short connection to each database."""
    supervisor = find_supervisor(state)
    layout = read_json(state.layout_file)
    if supervisor is None or not isinstance(layout, dict):
        return ClusterStatus(health=LocalHealth.NOT_RUNNING, phase="stopped", supervisor_pid=None, web_url="")
    processes = _read_processes(state, layout["members"])
    databases = compute_lags([_read_database(state, database) for database in layout["databases"]])
    fine = (
        supervisor.phase is Phase.READY
        and all(process.pid is not None and not process.is_paused for process in processes)
        and sum(len(process.pull_pids) for process in processes) >= layout.get("pull_processes", 0)
        and all(database.is_up and database.is_streaming is not False for database in databases)
    )
    return ClusterStatus(
        health=LocalHealth.OK if fine else LocalHealth.DEGRADED,
        phase=supervisor.phase.value,
        supervisor_pid=supervisor.pid,
        web_url=layout["web_url"],
        processes=tuple(processes),
        databases=tuple(databases),
    )


def _read_processes(state: StateFolder, names: list[str]) -> list[ProcessStatus]:
    records = {record.name: record for record in read_records(state)}
    processes = []
    for name in names:
        record = records.get(name)
        process = find_process(record) if record else None
        is_paused = False
        uptime_seconds = None
        pull_pids: tuple[int, ...] = ()
        if process is not None:
            try:
                pull_pids = _find_pull_pids(process) if name == WORKER else ()
                is_paused = process.status() == psutil.STATUS_STOPPED
                uptime_seconds = round(time.time() - process.create_time(), 1)
            except psutil.NoSuchProcess:
                process = None
        processes.append(
            ProcessStatus(
                name=name,
                pid=process.pid if process else None,
                uptime_seconds=uptime_seconds,
                restarts=record.restarts if record else 0,
                is_paused=is_paused,
                pull_pids=pull_pids,
            )
        )
    return processes


def _find_pull_pids(worker: psutil.Process) -> tuple[int, ...]:
    """Raises psutil.NoSuchProcess if the worker has ended."""
    pids = []
    for child in worker.children():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "run_puller" in child.cmdline():
                pids.append(child.pid)
    return tuple(sorted(pids))


def _read_database(state: StateFolder, database: dict[str, Any]) -> DatabaseStatus:
    name, shard = database["name"], database["shard"]
    password = state.get_secret("shard_password" if shard else "control_password")
    try:
        with psycopg.connect(
            host=LOOPBACK,
            port=database["port"],
            dbname=database["database"],
            user=SERVICE_ROLE,
            password=password,
            connect_timeout=CONNECT_SECONDS,
            options=f"-c statement_timeout={CONNECT_SECONDS}s",
            autocommit=True,
        ) as connection:
            row = connection.execute(_READ_POSITION).fetchone()
    except psycopg.Error as error:
        return DatabaseStatus(name=name, shard=shard, role="unknown", is_up=False, error=str(error).strip())
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    in_recovery, position, replay_age_seconds, receiver = row
    return DatabaseStatus(
        name=name,
        shard=shard,
        role="replica" if in_recovery else "primary",
        is_up=True,
        position=position,
        lag_seconds=replay_age_seconds if in_recovery else None,
        is_streaming=receiver == "streaming" if in_recovery else None,
    )


def compute_lags(databases: list[DatabaseStatus]) -> list[DatabaseStatus]:
    """The lag of each replica behind its shard's primary; 0 if it has replayed everything, however long ago."""
    primaries = {d.shard: parse_wal_position(d.position) for d in databases if d.role == "primary" and d.position}
    return [_compute_lag(database, primaries.get(database.shard)) for database in databases]


def _compute_lag(database: DatabaseStatus, primary_position: int | None) -> DatabaseStatus:
    if database.role != "replica" or database.position is None:
        return database
    lag_bytes = None
    if primary_position is not None:
        lag_bytes = max(0, primary_position - parse_wal_position(database.position))
    return DatabaseStatus(
        name=database.name,
        shard=database.shard,
        role=database.role,
        is_up=database.is_up,
        position=database.position,
        lag_bytes=lag_bytes,
        lag_seconds=0.0 if lag_bytes == 0 else database.lag_seconds,
        is_streaming=database.is_streaming,
    )


def parse_wal_position(text: str) -> int:
    """`16/B374D848` as a number of bytes."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)
