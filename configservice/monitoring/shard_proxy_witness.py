"""Shard proxies as witnesses of a primary.

They check each instance every second from other hosts. One that reaches the primary proves that it is alive. One on
this host cannot confirm a death, since it could be cut off or starved together with this process.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from configservice.errors import ClusterUnknown, WitnessUnavailable
from configservice.monitoring.failure_detection import Liveness, Observation
from configservice.monitoring.probe_result import ProbeResult
from configservice.monitoring.witness_reports import ReceivedReport
from configservice.topology.model import Instance, Shard
from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog

logger = logging.getLogger(__name__)

STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Received:
    """`read_at`: instant to which the ages in `reports` refer (monotonic clock)."""

    read_at: float = 0.0
    reports: tuple[ReceivedReport, ...] = ()


class ShardProxyWitness:
    """Reads the reports in a background thread, from `start` to `close`: at an interval, and at once while a primary is
    suspected. `observe_primary` never blocks: it takes what was read last, and has it read again for its next call.

    `read` may raise WitnessUnavailable or ClusterUnknown; then the last reports stay, and age. `host`: this host.
    """

    def __init__(self, read: Callable[[], list[ReceivedReport]], *, host: str, interval_seconds: float) -> None:
        self._read = read
        self._host = host
        self._received = _Received()
        self._outage = OutageLog(
            logger,
            failed="reports of shard proxies cannot be read",
            recovered="reports of shard proxies are read again",
        )
        self._task = PeriodicTask("shard-proxy-witness", self._read_reports, interval_seconds=interval_seconds)

    def start(self) -> None:
        self._task.start()

    def close(self) -> None:
        self._task.stop(timeout_seconds=STOP_SECONDS)

    def observe_primary(self, shard: Shard, probes: Mapping[str, ProbeResult], *, now: float) -> Iterable[Observation]:
        primary = shard.primary
        suspect = None if primary is None else probes.get(primary.name)
        if primary is None or suspect is None or suspect.failed_at is None:
            return []
        self._task.wake()
        received = self._received
        return [
            classify_report(one, read_at=received.read_at, failed_at=suspect.failed_at, now=now, own_host=self._host)
            for one in received.reports
            if is_about(one, primary)
        ]

    def _read_reports(self) -> None:
        read_at = time.monotonic()
        try:
            self._received = _Received(read_at, tuple(self._read()))
        except (WitnessUnavailable, ClusterUnknown) as error:
            self._outage.report_failure(error)
        else:
            self._outage.report_success()


def is_about(received: ReceivedReport, primary: Instance) -> bool:
    report = received.report
    return (report.instance, report.host, report.port) == (primary.name, primary.host, primary.port)


def classify_report(
    received: ReceivedReport, *, read_at: float, failed_at: float, now: float, own_host: str
) -> Observation:
    """Pure. A report counts only if its check is younger than the primary's first failed probe."""
    seen_at = read_at - received.report.age_seconds
    ago = f"{now - seen_at:.1f} s ago"
    name = f"shard proxy {received.witness}"
    if seen_at < failed_at:
        return Observation(name, Liveness.UNKNOWN, f"last checked it {ago}")
    if received.report.is_reachable:
        return Observation(name, Liveness.ALIVE, f"reached it {ago}")
    if received.witness.rpartition(":")[0] == own_host:
        return Observation(name, Liveness.UNKNOWN, f"did not reach it {ago}, but is on this host")
    return Observation(name, Liveness.DEAD, f"did not reach it {ago} ({received.report.detail})")
