"""The status of shards and the lag of drains, for `manage.py status`.

Queried from a running gateway, which is loaded and connected already; that saves the command a second of CPU time. If
none answers, the command reads them itself (`direct_report`).
"""

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from configservice.registry.known_keys import KeyHolder
from runtime.errors import Retryable

NO_CONDITIONS = "the control database does not answer"
_SHARD_FIELDS = (
    "name",
    "status",
    "reason",
    "term",
    "primary",
    "condition",
    "condition_detail",
    "condition_since",
    "failover",
    "moving",
    "kept_log",
)


class GatewayUnavailable(Exception, Retryable):
    """No gateway reports the status: none answers, or it refuses the key. The command reads the status itself."""


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """`shards` and `lag` as in the JSON of the command, with times as datetimes. `lag` is None if it is unknown."""

    shards: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    shards_error: str | None = None
    lag: Mapping[str, Any] | None = None
    lag_error: str | None = None
    log_memory: Mapping[str, Any] | None = None
    """`used_bytes`, `max_bytes` and `full_seconds`, which is None while it does not grow or is not known yet."""
    key_holders: Sequence[KeyHolder] = field(default_factory=tuple)


def query_gateway(url: str, *, key: str, within_seconds: float) -> ClusterReport:
    """Read `/v1/cluster` and `/v1/partitions`, each bounded in time. Raises GatewayUnavailable."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=within_seconds)
    try:
        cluster = _get(connection, "/v1/cluster", key=key)
        lag = _get(connection, "/v1/partitions", key=key)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise GatewayUnavailable(str(error)) from error
    finally:
        connection.close()
    return ClusterReport(
        shards=[_build_shard(shard) for shard in cluster["shards"]],
        shards_error=NO_CONDITIONS if "conditions" in cluster["missing"] else None,
        lag=build_lag(lag["partitions"], missing=lag["missing"]),
        lag_error=describe_missing(lag["missing"]),
        log_memory=cluster["log"].get("memory"),
        key_holders=[
            KeyHolder(f"{service['kind']} {service['host']}:{service['pid']}", service["public_keys"])
            for service in cluster["services"]
            if service["state"] not in ("lost", "stopping")
        ],
    )


def build_lag(partitions: Sequence[Mapping[str, Any]], *, missing: Sequence[int]) -> dict[str, Any]:
    """`partitions`: as in `/v1/partitions`."""
    return {
        "events_behind": sum(partition["events_behind"] for partition in partitions),
        "seconds_behind": max((partition["seconds_behind"] for partition in partitions), default=0.0),
        "unread_partitions": sum(partition["events_behind"] > 0 for partition in partitions),
        "missing_partitions": missing,
        "partitions": [{**partition, "watermark": _read_time(partition["watermark"])} for partition in partitions],
    }


def describe_missing(partitions: Sequence[int]) -> str | None:
    return f"no answer from the shards of partitions {', '.join(map(str, partitions))}" if partitions else None


def _get(connection: http.client.HTTPConnection, path: str, *, key: str) -> dict[str, Any]:
    connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != http.client.OK:
        raise GatewayUnavailable(f"GET {path} answers {answer.status}")
    document: dict[str, Any] = json.loads(body)
    return document


def _build_shard(shard: Mapping[str, Any]) -> dict[str, Any]:
    failover = shard["failover"]
    return {
        **{name: shard[name] for name in _SHARD_FIELDS},
        "condition_since": _read_time(shard["condition_since"]),
        "failover": failover and {**failover, "requested_at": _read_time(failover["requested_at"])},
        "partition_count": len(shard["partitions"]),
        "durability": {name: shard["durability"][name] for name in ("state", "reason")},
    }


def _read_time(value: str | datetime | None) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value
