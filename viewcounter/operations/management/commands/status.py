"""`manage.py status`: each process, each database, how far the drains are behind."""

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.table import Table

from clusterproxy.errors import ClusterProxyError
from localcluster.state import StateFolder
from localcluster.status import ClusterStatus, DatabaseStatus, Health, ProcessStatus, read_status
from shardproxy.errors import ShardProxyError
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.eventlog.errors import EventLogError
from viewcounter.eventlog.registry import get_event_log
from viewcounter.operations.shard_status import ShardStatus, encode_shard, judge_shard
from viewcounter.processing.lag import ClusterLag, read_lag
from viewcounter.shard_condition import find_reports
from viewcounter.standing import Status, read_standing

EXIT_STATUS = {Health.OK: 0, Health.NOT_RUNNING: 1, Health.DEGRADED: 3}
STATUS_SECONDS = 5.0
"""The control database has so long to say what it knows of the shards."""
PATHS = {"web": "", "events": "/v1/events", "docs": "/v1/docs", "admin": "/admin/", "ready": "/readyz"}


class Command(BaseCommand):
    help = "How the local cluster is doing. Exit status 0 if all is well, 3 if something is not, 1 if it does not run."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, **options: Any) -> None:
        status = read_status(StateFolder(get_config().state_dir))
        lag, lag_error = _read_lag(status)
        shards, shards_error = _read_shards(status)
        is_troubled = lag_error or shards_error or any(shard.status is not Status.UP for shard in shards)
        health = Health.DEGRADED if is_troubled and status.health is Health.OK else status.health
        urls = {name: f"{status.web_url}{path}" for name, path in PATHS.items()} if status.web_url else {}
        if options["json"]:
            document = asdict(status) | {
                "health": health,
                "urls": urls,
                "shards": [encode_shard(shard) for shard in shards],
                "shards_error": shards_error,
                "log_lag": _summarize(lag) if lag else None,
                "log_lag_error": lag_error,
            }
            self.stdout.write(json.dumps(document, indent=2, default=str))
        else:
            console = Console(file=sys.stdout, highlight=False)
            _print_status(console, status, health=health)
            _print_shards(console, shards, shards_error)
            for name, url in urls.items():
                console.print(f"{name:7} {url}", soft_wrap=True)
            if status.health is not Health.NOT_RUNNING:
                self.stdout.write(_describe_lag(lag, lag_error))
        sys.exit(EXIT_STATUS[health])


def _read_shards(status: ClusterStatus) -> tuple[list[ShardStatus], str | None]:
    """What the config service knows of each, and what its instances say."""
    if status.health is Health.NOT_RUNNING:
        return [], None
    config = get_config()
    reports = find_reports(timeout_seconds=STATUS_SECONDS)
    try:
        _, standings = read_standing(
            get_cluster(),
            timeout_seconds=config.readiness_probe_seconds,
            max_lag_seconds=config.replica_max_lag_seconds,
        )
    except ClusterProxyError as error:
        return [], f"{type(error).__name__}: {error}"
    shards = [judge_shard(standing, (reports or {}).get(standing.shard.name)) for standing in standings]
    return shards, "the control database does not answer" if reports is None else None


def _print_shards(console: Console, shards: list[ShardStatus], error: str | None) -> None:
    if shards:
        table = Table("shard", "primary", "term", "partitions", "condition", "since", "", box=None)
        for shard in shards:
            told = encode_shard(shard)
            since = told["condition_since"]
            table.add_row(
                told["name"],
                told["primary"] or "none",
                str(told["term"]),
                str(told["partition_count"]),
                told["condition"],
                "" if since is None else f"{since:%Y-%m-%d %H:%M:%S}Z",
                told["reason"],
            )
        console.print(table)
    if error:
        console.print(f"shards: {error}", markup=False)


def _read_lag(status: ClusterStatus) -> tuple[ClusterLag | None, str | None]:
    if status.health is Health.NOT_RUNNING:
        return None, None
    try:
        lag = read_lag(get_cluster(), get_event_log())
    except (EventLogError, ClusterProxyError, ShardProxyError) as error:
        return None, f"{type(error).__name__}: {error}"
    if lag.missing:
        return lag, f"no answer from the shards of partitions {', '.join(map(str, lag.missing))}"
    return lag, None


def _summarize(lag: ClusterLag) -> dict[str, Any]:
    return {
        "events_behind": lag.events_behind,
        "seconds_behind": lag.seconds_behind,
        "unread_partitions": lag.unread_count,
        "missing_partitions": lag.missing,
        "partitions": [asdict(partition) for partition in lag.partitions],
    }


def _describe_lag(lag: ClusterLag | None, error: str | None) -> str:
    if lag is None:
        return f"event log: unknown, {error}"
    text = (
        f"event log: {lag.events_behind} events wait in {lag.unread_count} of {len(lag.partitions)} partitions, "
        f"the oldest for {lag.seconds_behind:.1f} s"
    )
    return f"{text}; {error}" if error else text


def _print_status(console: Console, status: ClusterStatus, *, health: Health) -> None:
    if status.health is Health.NOT_RUNNING:
        console.print("not running; bin/up starts it")
        return
    console.print(f"{health.value} ({status.phase}), supervisor pid {status.supervisor_pid}")
    console.print(_build_process_table(status.processes))
    console.print(_build_database_table(status.databases))


def _build_process_table(processes: tuple[ProcessStatus, ...]) -> Table:
    table = Table("process", "pid", "state", "uptime", "restarts", box=None)
    for process in processes:
        state = "down" if process.pid is None else "paused" if process.is_paused else "up"
        uptime = "" if process.uptime_seconds is None else f"{process.uptime_seconds:.0f} s"
        table.add_row(process.name, str(process.pid or ""), state, uptime, str(process.restarts))
    return table


def _build_database_table(databases: tuple[DatabaseStatus, ...]) -> Table:
    table = Table("database", "role", "state", "position", "lag bytes", "lag s", box=None)
    for database in databases:
        state = "down" if not database.is_up else "up" if database.is_streaming is not False else "not streaming"
        table.add_row(
            database.name,
            database.role,
            state,
            database.position or "",
            "" if database.lag_bytes is None else str(database.lag_bytes),
            "" if database.lag_seconds is None else f"{database.lag_seconds:.1f}",
        )
    return table
