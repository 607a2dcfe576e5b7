"""Drains the partitions of one shard that a process owns: all together, and apart those that cannot take part.

A partition whose row is locked for long, or whose events the shard refuses, would hold up the others of its shard. It
is drained alone by a thread of its own and comes back once it has passed.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from clusterproxy.errors import ClusterProxyError
from runtime.backoff import Backoff
from runtime.logs import log_fields
from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog
from shardproxy.errors import ShardProxyError
from viewcounter.eventlog.errors import EventLogError, PositionTrimmed
from viewcounter.processing.drain import Drainer
from viewcounter.processing.errors import DrainError, PartitionNotOwned, PartitionStopped, StaleTopology
from viewcounter.storage.errors import StorageError

logger = logging.getLogger(__name__)

IDLE_SECONDS = 0.2
"""Longest time until it is noticed that a partition may be drained together with others again."""

CANNOT_DRAIN = (ClusterProxyError, ShardProxyError, EventLogError, DrainError, StorageError)
"""A dependency does not answer, or a partition is not as expected: its events wait in the log."""


@dataclass(slots=True)
class _Apart:
    """A partition that is drained alone, not before `due_at` (monotonic clock)."""

    outage: OutageLog
    due_at: float


class ShardFollower:
    """`follow` is called by one thread. A second one, of the follower, drains the partitions that are apart."""

    def __init__(
        self, *, together: Drainer, alone: Drainer, retry: Backoff, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._together = together
        self._alone = alone
        self._retry = retry
        self._clock = clock
        self._lock = threading.Lock()  # protects `_apart` and `_version`
        self._apart: dict[int, _Apart] = {}
        self._version = 0  # grows with each change of the partitions in `_apart`
        self._task = PeriodicTask("drain-alone", self._drain_apart, interval_seconds=None, first_after_seconds=None)

    @property
    def apart(self) -> frozenset[int]:
        """The partitions that are drained alone now."""
        with self._lock:
            return frozenset(self._apart)

    def follow(self, partitions: Collection[int], *, is_over: Callable[[], bool]) -> None:
        """Drains the partitions until `is_over`. Raises the errors of `Drainer.follow` that concern the whole shard or
        the log; those of a single partition are logged once, and it is tried again."""
        self._task.start()
        self._keep_apart(partitions)
        while not is_over():
            together, version = self._choose(partitions)
            if not together:
                time.sleep(IDLE_SECONDS)
                continue
            left = self._together.follow(together, is_over=self._build_end(is_over, version))
            if left:
                self._set_apart(left)

    def close(self, *, timeout_seconds: float) -> None:
        """Waits for the flushes in progress."""
        self._task.stop(timeout_seconds=timeout_seconds)
        self._together.close()
        self._alone.close()

    def _build_end(self, is_over: Callable[[], bool], version: int) -> Callable[[], bool]:
        """Also over when a partition has left or joined those that are apart."""
        return lambda: is_over() or self._version != version

    def _choose(self, partitions: Collection[int]) -> tuple[frozenset[int], int]:
        with self._lock:
            return frozenset(partitions) - frozenset(self._apart), self._version

    def _keep_apart(self, partitions: Collection[int]) -> None:
        """Forgets those that this process does not own any more."""
        with self._lock:
            for partition in set(self._apart) - set(partitions):
                del self._apart[partition]

    def _set_apart(self, partitions: Collection[int]) -> None:
        with self._lock:
            for partition in partitions:
                outage = OutageLog(
                    logger,
                    failed=f"partition {partition} cannot be drained, its events wait in the log",
                    recovered=f"partition {partition} is drained again",
                )
                self._apart[partition] = _Apart(outage, self._clock())
            self._version += 1
        self._task.wake()

    def _drain_apart(self) -> float | None:
        """Drains each partition that is due. Returns the seconds until the next one is; None: there is none."""
        for partition in sorted(self.apart):
            if self._task.is_stopping:
                return None
            with self._lock:
                apart = self._apart.get(partition)
            if apart is not None and apart.due_at <= self._clock():
                with log_fields(partition=partition):
                    self._drain_alone(partition, apart)
        with self._lock:
            due_at = min((apart.due_at for apart in self._apart.values()), default=None)
        return None if due_at is None else max(0.0, due_at - self._clock())

    def _drain_alone(self, partition: int, apart: _Apart) -> None:
        try:
            self._alone.drain([partition])
        except PartitionStopped as error:
            logger.info("partition %d is not drained any more: %s", partition, error)  # logged when it stopped
        except (PartitionNotOwned, StaleTopology) as error:
            logger.info("partition %d is not drained: %s", partition, error)  # it is being moved, or is stopped
            apart.due_at = self._clock() + self._retry.max_seconds
            return
        except PositionTrimmed as error:
            if apart.outage.failures == 0:  # an operator has to act
                logger.error("partition %d stopped, its shard is older than the log reaches back: %s", partition, error)
            apart.outage.failures += 1
            apart.due_at = self._clock() + self._retry.max_seconds
            return
        except CANNOT_DRAIN as error:
            apart.outage.report_failure(error)
            apart.due_at = self._clock() + self._retry.compute_seconds(apart.outage.failures)
            return
        else:
            apart.outage.report_success()
        with self._lock:
            if self._apart.get(partition) is apart:
                del self._apart[partition]
                self._version += 1
