"""Turns the results of a watch into metrics, stored kills and witness reports. No callback blocks the watch."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from configservice.errors import ClusterUnknown, WitnessUnavailable
from configservice.monitoring.witness_reports import WitnessReport
from runtime.metrics import (
    INSTANCE_CONNECTIONS,
    INSTANCE_DATABASE_BYTES,
    INSTANCE_LAG_SECONDS,
    INSTANCE_MAX_CONNECTIONS,
    INSTANCE_OLDEST_TRANSACTION_SECONDS,
    INSTANCE_SLOT_RETAINED_BYTES,
    INSTANCE_UP,
    KILL_REFUSALS,
    KILLS,
)
from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog
from shardproxy.instance_metrics import InstanceMetrics
from shardproxy.session_reaper import TerminatedSession
from shardproxy.watch import Reachability
from viewcounter.shardwatch.kills import KillStore

logger = logging.getLogger(__name__)

STOP_SECONDS = 2.0
SPACING_SECONDS = 0.1
"""Reports arrive one by one, one a second from each watch; those of this interval are published together."""
REPORTED_SECONDS = 30.0
"""An older report is not published any longer: its watch has ended or is stuck."""


class WitnessWriter:
    """Publishes the newest report of each instance, from `start` to `stop`, in a thread of its own.

    Invariant: `_newest` holds at most one report for each instance, with its time (monotonic clock).
    """

    def __init__(self, *, publish: Callable[[Sequence[WitnessReport]], None]) -> None:
        self._publish = publish
        self._newest: dict[str, tuple[Reachability, float]] = {}
        self._lock = threading.Lock()  # guards `_newest`
        self._outage = OutageLog(
            logger,
            failed="cannot publish witness reports of instances",
            recovered="witness reports of instances are published again",
        )
        self._task = PeriodicTask(
            "witness",
            self._publish_news,
            interval_seconds=None,
            first_after_seconds=None,
            on_end=lambda: self._publish_reports([]),  # a stopped witness withdraws its reports
        )

    def put(self, reachability: Reachability) -> None:
        with self._lock:
            self._newest[reachability.instance] = (reachability, time.monotonic())
        self._task.wake()

    def start(self) -> None:
        self._task.start()

    def stop(self) -> None:
        self._task.stop(timeout_seconds=STOP_SECONDS)

    def _publish_news(self) -> None:
        self._task.pause(SPACING_SECONDS)
        with self._lock:
            reports = self._build_reports(now=time.monotonic())
        self._publish_reports(reports)

    def _publish_reports(self, reports: Sequence[WitnessReport]) -> None:
        try:
            self._publish(reports)
        except (WitnessUnavailable, ClusterUnknown) as error:
            self._outage.report_failure(error)
        else:
            self._outage.report_success()

    def _build_reports(self, *, now: float) -> list[WitnessReport]:
        """Drops old reports. The caller holds the lock."""
        self._newest = {name: entry for name, entry in self._newest.items() if now - entry[1] <= REPORTED_SECONDS}
        return [
            WitnessReport(
                instance=reachability.instance,
                host=reachability.host,
                port=reachability.port,
                is_reachable=reachability.is_reachable,
                age_seconds=now - seen_at,
                detail=reachability.detail,
            )
            for reachability, seen_at in self._newest.values()
        ]


class InstanceReporter:
    """Observer of one watch: its callbacks set metrics and queue records for other threads."""

    def __init__(self, *, shard: str, instance: str, kills: KillStore, witness: WitnessWriter) -> None:
        self._shard = shard
        self._labels = (shard, instance)
        self._kills = kills
        self._witness = witness

    def on_kill(self, kill: TerminatedSession) -> None:
        KILLS.labels(*self._labels, kill.session_class, kill.reason, kill.action).inc()
        self._kills.put(kill, shard=self._shard)

    def on_refusal(self) -> None:
        KILL_REFUSALS.labels(*self._labels).inc()

    def on_reachability(self, reachability: Reachability) -> None:
        INSTANCE_UP.labels(*self._labels).set(int(reachability.is_reachable))
        self._witness.put(reachability)

    def on_metrics(self, metrics: InstanceMetrics) -> None:
        INSTANCE_CONNECTIONS.labels(*self._labels).set(metrics.connections)
        INSTANCE_MAX_CONNECTIONS.labels(*self._labels).set(metrics.max_connections)
        INSTANCE_OLDEST_TRANSACTION_SECONDS.labels(*self._labels).set(metrics.oldest_transaction_seconds)
        if metrics.lag_seconds is not None:
            INSTANCE_LAG_SECONDS.labels(*self._labels).set(metrics.lag_seconds)
        for slot, retained_bytes in metrics.slot_retained_bytes.items():
            INSTANCE_SLOT_RETAINED_BYTES.labels(*self._labels, slot).set(retained_bytes)

    def on_database_bytes(self, database_bytes: float) -> None:
        INSTANCE_DATABASE_BYTES.labels(*self._labels).set(database_bytes)
