"""What shard proxies see of instances, for whoever must not trust its own eyes alone before it calls a primary dead.

In the cache, so that it can be read while the control database is down. Ages are by the cache server's own clock: those
of two machines are never compared. A report is a hint with an age; nobody's word is kept longer than a minute.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import redis

from configservice.errors import WitnessUnavailable
from configservice.publication import get_cache_client

REPORTS_KEPT = 256
"""Of one instance: at two a second from each of 20 observers, those of the last six seconds."""
KEPT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Report:
    """Whether `instance` answered `observer` at `host`:`port`, be it with an error; `detail` says what went wrong."""

    observer: str
    instance: str
    host: str
    port: int
    is_reachable: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AgedReport:
    report: Report
    age_seconds: float


def publish_reports(url: str, reports: Iterable[Report]) -> None:
    """Raises WitnessUnavailable."""
    try:
        with get_cache_client(url).pipeline(transaction=False) as pipeline:
            for report in reports:
                key = _get_key(report.instance)
                pipeline.xadd(key, _encode(report), maxlen=REPORTS_KEPT, approximate=True)
                pipeline.expire(key, KEPT_SECONDS)
            pipeline.execute()
    except redis.RedisError as error:
        raise WitnessUnavailable(str(error)) from error


def read_witness(url: str, instance: str, *, within_seconds: float) -> list[AgedReport]:
    """The newest report of each observer that is not older than that, newest first. Raises WitnessUnavailable.

    A report of an address that the instance has left says nothing of where it is now: compare `host` and `port`.
    """
    try:
        with get_cache_client(url).pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.xrevrange(_get_key(instance))
            (seconds, microseconds), entries = pipeline.execute()
    except redis.RedisError as error:
        raise WitnessUnavailable(str(error)) from error
    now_ms = seconds * 1000 + microseconds // 1000
    newest: dict[str, AgedReport] = {}
    for entry_id, fields in entries:
        age_seconds = max(0, now_ms - int(entry_id.split(b"-")[0])) / 1000
        report = _decode(instance, fields)
        if age_seconds <= within_seconds:
            newest.setdefault(report.observer, AgedReport(report, age_seconds))
    return list(newest.values())


def _encode(report: Report) -> dict[Any, Any]:
    return {
        "observer": report.observer,
        "host": report.host,
        "port": report.port,
        "reachable": int(report.is_reachable),
        "detail": report.detail,
    }


def _decode(instance: str, fields: dict[bytes, bytes]) -> Report:
    return Report(
        observer=fields[b"observer"].decode(),
        instance=instance,
        host=fields[b"host"].decode(),
        port=int(fields[b"port"]),
        is_reachable=fields[b"reachable"] == b"1",
        detail=fields[b"detail"].decode(),
    )


def _get_key(instance: str) -> str:
    return f"viewcounter:witness:{instance}"
