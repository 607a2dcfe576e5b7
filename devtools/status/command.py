"""What `manage.py status` does. It loads neither settings nor Django unless no gateway answers."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import django
from django.core.management.base import OutputWrapper

from commandline.table import align
from configservice.registry.known_keys import describe_known_keys
from devtools.localcluster.applications import PROJECT_ROOT
from devtools.localcluster.spec import STATUS_KEY, WEB
from devtools.localcluster.state import StateFolder, find_state_dir
from devtools.localcluster.status import ClusterStatus, DatabaseStatus, LocalHealth, ProcessStatus, read_status
from devtools.status.cluster_report import ClusterReport, GatewayUnavailable, query_gateway
from viewcounter.eventlog.usage_trend import LogMemory, describe_usage

EXIT_STATUS = {LocalHealth.OK: 0, LocalHealth.NOT_RUNNING: 1, LocalHealth.DEGRADED: 3}
STATUS_SECONDS = 5.0
"""Time limit for the answer of a gateway, or of the control database."""
PATHS = {"web": "", "events": "/v1/events", "docs": "/v1/docs", "admin": "/admin/", "ready": "/readyz"}

_PROCESS_TITLES = ("process", "pid", "state", "uptime", "restarts")
_DATABASE_TITLES = ("database", "role", "state", "position", "lag bytes", "lag s")
_SHARD_TITLES = ("shard", "primary", "term", "partitions", "condition", "since", "")


def run_status(*, as_json: bool, stdout: OutputWrapper) -> int:
    """Returns the exit status."""
    state = StateFolder(find_state_dir(os.environ, default=PROJECT_ROOT / ".local"))
    status = read_status(state)
    report = ClusterReport() if status.health is LocalHealth.NOT_RUNNING else _find_report(state, status)
    is_troubled = report.lag_error or report.shards_error or any(shard["status"] != "up" for shard in report.shards)
    health = LocalHealth.DEGRADED if is_troubled and status.health is LocalHealth.OK else status.health
    urls = {name: f"{status.web_url}{path}" for name, path in PATHS.items()} if status.web_url else {}
    if as_json:
        document = asdict(status) | {
            "health": health,
            "urls": urls,
            "shards": report.shards,
            "shards_error": report.shards_error,
            "public_keys": [asdict(holder) for holder in report.key_holders],
            "log_lag": report.lag,
            "log_lag_error": report.lag_error,
            "log_memory": report.log_memory,
        }
        stdout.write(json.dumps(document, indent=2, default=str))
    else:
        for line in _render(status, report, health=health, urls=urls):
            stdout.write(line)
    return EXIT_STATUS[health]


def _find_report(state: StateFolder, status: ClusterStatus) -> ClusterReport:
    """The report of a gateway; if none answers, that of this process itself."""
    answers = any(p.name == WEB and p.pid is not None and not p.is_paused for p in status.processes)
    key = state.find_secret(STATUS_KEY)
    if answers and key is not None:
        try:
            return query_gateway(status.web_url, key=key, within_seconds=STATUS_SECONDS)
        except GatewayUnavailable:
            pass
    django.setup()
    from devtools.status.direct_report import read_report

    return read_report(within_seconds=STATUS_SECONDS)


def _render(
    status: ClusterStatus, report: ClusterReport, *, health: LocalHealth, urls: Mapping[str, str]
) -> Iterable[str]:
    if status.health is LocalHealth.NOT_RUNNING:
        yield "not running; bin/up starts it"
        return
    yield f"{health.value} ({status.phase}), supervisor pid {status.supervisor_pid}"
    yield from align([_PROCESS_TITLES, *(row for process in status.processes for row in _describe_process(process))])
    yield from align([_DATABASE_TITLES, *map(_describe_database, status.databases)])
    if report.shards:
        yield from align([_SHARD_TITLES, *map(_describe_shard, report.shards)])
    if report.shards_error:
        yield f"shards: {report.shards_error}"
    yield from describe_known_keys(report.key_holders)
    for name, url in urls.items():
        yield f"{name:7} {url}"
    yield _describe_lag(report.lag, report.lag_error)
    if report.log_memory is not None:
        yield describe_usage(LogMemory(**report.log_memory))


def _describe_process(process: ProcessStatus) -> Iterator[tuple[str, ...]]:
    """Its row, and one for each pull process of a worker."""
    state = "down" if process.pid is None else "paused" if process.is_paused else "up"
    uptime = "" if process.uptime_seconds is None else f"{process.uptime_seconds:.0f} s"
    yield process.name, str(process.pid or ""), state, uptime, str(process.restarts)
    for number, pid in enumerate(process.pull_pids, start=1):
        yield f"  pull process {number}", str(pid), state, "", ""


def _describe_database(database: DatabaseStatus) -> tuple[str, ...]:
    return (
        database.name,
        database.role,
        "down" if not database.is_up else "up" if database.is_streaming is not False else "not streaming",
        database.position or "",
        "" if database.lag_bytes is None else str(database.lag_bytes),
        "" if database.lag_seconds is None else f"{database.lag_seconds:.1f}",
    )


def _describe_shard(shard: Mapping[str, Any]) -> tuple[str, ...]:
    since = shard["condition_since"]
    return (
        shard["name"],
        shard["primary"] or "none",
        str(shard["term"]),
        str(shard["partition_count"]),
        shard["condition"],
        "" if since is None else f"{since:%Y-%m-%d %H:%M:%S}Z",
        shard["reason"],
    )


def _describe_lag(lag: Mapping[str, Any] | None, error: str | None) -> str:
    if lag is None:
        return f"event log: unknown, {error}"
    text = (
        f"event log: {lag['events_behind']} events wait in {lag['unread_partitions']} of {len(lag['partitions'])} "
        f"partitions, the oldest for {lag['seconds_behind']:.1f} s"
    )
    return f"{text}; {error}" if error else text
