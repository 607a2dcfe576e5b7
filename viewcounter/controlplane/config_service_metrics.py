"""Publishes the work of the config service as Prometheus metrics."""

import math
from collections.abc import Mapping, Sequence

from configservice.failover.kept_log import LogShare
from configservice.failover.records import Condition
from runtime.metrics import (
    CONFIG_SERVICE_LEADS,
    EXCLUDED_INSTANCES,
    FAILOVER_SECONDS,
    FAILOVERS,
    LOG_FULL_SECONDS,
    LOG_KEPT_BYTES,
    LOG_SHARE_BYTES,
    SHARD_CONDITION,
    SILENT_INSTANCES,
)


class MetricsObserver:
    """Only the leader sets the gauges of the cluster, so that two processes do not report different values."""

    def record_tick(self, *, leads: bool, silent_instances: Sequence[str]) -> None:
        CONFIG_SERVICE_LEADS.set(leads)
        if leads:
            SILENT_INSTANCES.set(len(silent_instances))

    def record_excluded(self, count: int) -> None:
        EXCLUDED_INSTANCES.set(count)

    def record_log_shares(self, shares: Mapping[str, LogShare | None]) -> None:
        for shard, share in shares.items():
            if share is not None:
                LOG_KEPT_BYTES.labels(shard).set(share.kept_bytes)
                LOG_SHARE_BYTES.labels(shard).set(share.share_bytes)
                LOG_FULL_SECONDS.labels(shard).set(math.inf if share.full_seconds is None else share.full_seconds)

    def record_conditions(self, conditions: Mapping[str, Condition]) -> None:
        for shard, current in conditions.items():
            for condition in Condition:
                SHARD_CONDITION.labels(shard, condition.value).set(condition is current)

    def record_failover(self, *, kind: str, outcome: str, seconds: float) -> None:
        FAILOVERS.labels(kind, outcome).inc()
        if outcome == "done":
            FAILOVER_SECONDS.labels(kind).observe(seconds)
