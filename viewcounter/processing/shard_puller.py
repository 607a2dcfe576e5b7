"""Pulls the partitions of one shard that this process owns: from the log to the shard.

Each kind of work has a thread of its own, so that none waits for another's server: the lease, the drains, and the
watermarks of partitions without new events. Nothing of one shard waits for another shard.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from configservice.topology.model import Shard
from runtime.logs import bind_log_fields
from runtime.metrics import DRAIN_FAILURES, OWNED_PARTITIONS, OWNED_WATERMARK_AGE_SECONDS
from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog
from shardproxy.errors import ShardProxyError
from viewcounter.eventlog.errors import EventLogError, LogUnfit
from viewcounter.eventlog.interface import EventLog
from viewcounter.processing.drain import Drainer
from viewcounter.processing.errors import DrainError, LogEndLost, LogSuperseded
from viewcounter.processing.follow import ShardFollower
from viewcounter.processing.idle_watermarks import advance_idle_watermarks
from viewcounter.processing.log_watch import report_unfit_log
from viewcounter.processing.ownership import ShardOwnership, WorkerId
from viewcounter.processing.settings import PullSettings
from viewcounter.storage.errors import StorageError

logger = logging.getLogger(__name__)

UNAVAILABLE = (EventLogError, ClusterProxyError, ShardProxyError, StorageError, DrainError)
"""A dependency is down, or the partitions wait for an operator. The events wait in the log."""

SHARD_AWAY = (ClusterProxyError, ShardProxyError, KeyError)
"""KeyError: the topology no longer has the shard."""
RECOVERED_SECONDS = 5.0
"""A drain that has gone on for so long without an error works again, also where there is nothing to count."""


@dataclass(frozen=True, slots=True)
class PullTools:
    """`build_drainer` makes one for a thread of its own."""

    cluster: ClusterProxy
    log: EventLog
    settings: PullSettings
    build_drainer: Callable[[], Drainer]
    confirm_log: Callable[[EventLog], None]


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """What a pull process does on one shard. `seconds_behind`: age of the oldest watermark; `trouble`: why it waits."""

    shard: str
    partitions: tuple[int, ...]
    seconds_behind: float
    trouble: str


class ShardPuller:
    """`start` once, then `stop_draining` and `release`, in this order."""

    def __init__(self, shard: Shard, *, worker: WorkerId, tools: PullTools) -> None:
        self._shard = shard
        self._tools = tools
        self._ownership = ShardOwnership(tools.cluster, shard.id, worker=worker, settings=tools.settings)
        self._follower = ShardFollower(
            together=tools.build_drainer(), alone=tools.build_drainer(), retry=tools.settings.backoff
        )
        self._positions: Mapping[int, str] = {}  # when no drain had failed since
        self._has_no_partitions = False  # and so the draining thread waits to be woken
        self._following_since = math.inf  # monotonic clock, while a drain goes on
        # Written by the draining thread, reported by the one of the lease.
        self._error: BaseException | None = None
        self._failures = 0  # since the last progress
        self._lease_outage = OutageLog(
            logger,
            failed=f"the lease on {shard.name} cannot be renewed",
            recovered=f"the lease on {shard.name} is renewed again",
        )
        self._drain_outage = OutageLog(
            logger,
            failed=f"events of partitions on {shard.name} wait in the log",
            recovered=f"events of partitions on {shard.name} are counted again",
        )
        self._watermark_outage = OutageLog(
            logger,
            failed=f"watermarks of partitions without new events on {shard.name} are not advanced",
            recovered=f"watermarks of partitions without new events on {shard.name} are advanced again",
        )
        self._lease = PeriodicTask(
            f"lease on {shard.name}",
            bind_log_fields(self._renew, shard=shard.name),
            interval_seconds=tools.settings.renew_seconds,
            on_end=self._release,
        )
        self._draining = PeriodicTask(
            f"drains of {shard.name}",
            bind_log_fields(self._drain, shard=shard.name),
            interval_seconds=None,
            on_end=lambda: self._follower.close(timeout_seconds=tools.settings.stop_seconds),
        )
        advance = bind_log_fields(self._advance_watermarks, shard=shard.name)
        self._watermarks = PeriodicTask(f"watermarks of {shard.name}", advance, interval_seconds=None)

    def start(self) -> None:
        for task in (self._lease, self._draining, self._watermarks):
            task.start()

    def stop_draining(self, *, timeout_seconds: float = 0.0) -> None:
        """Drains end after the flush in progress. May be called again, to wait for that."""
        for task in (self._draining, self._watermarks):
            task.stop(timeout_seconds=timeout_seconds)

    def release(self, *, timeout_seconds: float = 0.0) -> None:
        """Leave the partitions to others. May be called again, to wait for that."""
        self._lease.stop(timeout_seconds=timeout_seconds)

    def describe(self) -> ShardProgress:
        drained = self._ownership.drained
        return ShardProgress(
            shard=self._shard.name,
            partitions=tuple(drained),
            seconds_behind=max((row.watermark_age_seconds for row in drained.values()), default=0.0),
            trouble=self._describe_trouble(),
        )

    def _describe_trouble(self) -> str:
        if self._lease_outage.failures:
            return f"the lease on {self._shard.name} cannot be renewed"
        if self._drain_outage.failures:
            return f"events of partitions on {self._shard.name} wait in the log"
        if apart := self._follower.apart & self._ownership.drained.keys():
            return f"{self._shard.name} drains partitions {', '.join(map(str, sorted(apart)))} alone"
        return ""

    # -- the lease --------------------------------------------------------------------------------

    def _renew(self) -> None:
        try:
            self._ownership.renew()
        except SHARD_AWAY as error:
            self._lease_outage.report_failure(error)
        else:
            self._lease_outage.report_success()
        drained = self._ownership.drained
        if drained and self._has_no_partitions:
            self._draining.wake()
        if any(row.needs_watermark for row in drained.values()):
            self._watermarks.wake()
        self._report_drains({partition: row.position for partition, row in drained.items()})
        OWNED_PARTITIONS.labels(self._shard.name).set(len(drained))
        OWNED_WATERMARK_AGE_SECONDS.labels(self._shard.name).set(self.describe().seconds_behind)

    def _release(self) -> None:
        OWNED_PARTITIONS.labels(self._shard.name).set(0)
        try:
            self._ownership.release()
        except SHARD_AWAY as error:
            logger.info("the lease on %s was not released, it expires: %s", self._shard.name, error)

    def _report_drains(self, positions: Mapping[int, str]) -> None:
        """A drain that follows the log for hours has no end at which it could say that it works again."""
        error, self._error = self._error, None
        if error is not None:
            self._drain_outage.report_failure(error)
            return
        if not positions:
            self._drain_outage.failures = 0  # nothing of the shard waits for this process any more
        has_moved = any(self._positions.get(p, position) != position for p, position in positions.items())
        self._positions = positions
        if has_moved or time.monotonic() - self._following_since >= RECOVERED_SECONDS:
            self._drain_outage.report_success()
            self._failures = 0

    # -- drains -----------------------------------------------------------------------------------

    def _drain(self) -> float | None:
        """Drains the partitions until they change. Returns the seconds until it is to run again; None: when woken."""
        partitions = self._ownership.take()
        self._has_no_partitions = not partitions
        try:
            if partitions:
                self._following_since = time.monotonic()
                self._follower.follow(partitions, is_over=self._is_over)
                return 0.0
        except UNAVAILABLE as error:
            return self._fail(error)
        finally:
            self._following_since = math.inf
            if self._ownership.give_back():
                self._lease.wake()  # another process waits for a partition
        return None

    def _is_over(self) -> bool:
        return self._draining.is_stopping or self._ownership.is_over()

    def _fail(self, error: BaseException) -> float:
        """Seconds until the next attempt. Only this shard waits."""
        DRAIN_FAILURES.labels(self._shard.name).inc()
        if isinstance(error, LogUnfit):
            report_unfit_log(error)
        elif isinstance(error, LogEndLost | LogSuperseded):
            self._confirm_log()
        self._failures += 1
        self._error = error
        return self._tools.settings.backoff.compute_seconds(self._failures)

    def _confirm_log(self) -> None:
        """A log that has lost entries begins another term. If it cannot yet, the next attempt finds it again."""
        with suppress(EventLogError):
            self._tools.confirm_log(self._tools.log)

    # -- watermarks -------------------------------------------------------------------------------

    def _advance_watermarks(self) -> None:
        due = [row for row in self._ownership.drained.values() if row.needs_watermark]
        if not due:
            return
        try:
            advance_idle_watermarks(self._tools.cluster, self._tools.log, self._shard.id, due, now=datetime.now(UTC))
        except LogEndLost as error:
            self._watermark_outage.report_failure(error)
            self._confirm_log()
        except UNAVAILABLE as error:
            self._watermark_outage.report_failure(error)
        else:
            self._watermark_outage.report_success()
