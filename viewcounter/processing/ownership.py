"""The partitions of one shard that this pull process drains, by a lease that it renews there.

The lease ends by two clocks: for other processes by the shard's, for this one by its monotonic clock, counted from
before the renewal was sent. So a process that was frozen stops draining before it looks at the shard again. Should two
processes drain a partition nevertheless, the flush's compare-and-set decides, and one of them works in vain.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from clusterproxy.proxy import ClusterProxy
from configservice.topology.model import Topology
from runtime.metrics import LEASES_LOST, OWNER_CHANGES
from shardproxy.instance import RowConnection
from shardproxy.query import QueryClass
from viewcounter.processing.settings import PullSettings
from viewcounter.processing.shares import OwnershipPlan, plan_ownership
from viewcounter.storage.leases import (
    LeaseTerms,
    LeaseView,
    OwnedPartition,
    change_owners_without_wait,
    claim_partitions,
    end_lease,
    hand_over_partitions,
    renew_lease,
)
from viewcounter.storage.partitions import OWNED, accept_arrived

logger = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
"""A reader waits less for a watermark that it has asked for."""
ADOPTED_SECONDS = 60.0
"""Time for which a partition is kept that its taker had not claimed, so that it is not given back at once."""
REFRESH_SECONDS = 2.0
"""Least time between two refreshes of a topology that is older than the shard's rows."""


@dataclass(frozen=True, slots=True)
class WorkerId:
    """A pull process: the same on all shards, and never used again. `started_at` is of its own clock."""

    id: str
    started_at: datetime


class ShardOwnership:
    """`renew` and `release` run in one thread, `take` and `give_back` in the one that drains; the rest in any.

    Invariant: a partition is handed over only while the draining thread has not taken it, and it takes only partitions
    that are not being handed over.
    """

    def __init__(
        self,
        cluster: ClusterProxy,
        shard_id: int,
        *,
        worker: WorkerId,
        settings: PullSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._shard_id = shard_id
        self._worker = worker
        self._settings = settings
        self._terms = LeaseTerms(settings.lease_seconds, settings.idle_watermark_seconds, REQUEST_SECONDS)
        self._clock = clock
        # Guards the three below: a partition must not be taken and handed over at once.
        self._lock = threading.Lock()
        self._drained: Mapping[int, OwnedPartition] = {}
        self._taken: frozenset[int] = frozenset()
        self._is_awaited = False  # a hand-over waits for `give_back`
        self._valid_until = -1.0
        self._ownerless_since: dict[int, float] = {}
        self._adopted_until: dict[int, float] = {}
        self._overdue: frozenset[int] = frozenset()
        self._refreshed_at = -REFRESH_SECONDS

    @property
    def drained(self) -> Mapping[int, OwnedPartition]:
        """The partitions to drain, as the shard had them at the last renewal."""
        return self._drained if self._clock() < self._valid_until else {}

    def take(self) -> frozenset[int]:
        """The partitions to drain from now on; none of them is handed over before `give_back`."""
        with self._lock:
            self._taken = frozenset(self.drained)
            return self._taken

    def give_back(self) -> bool:
        """The draining thread has let go of all partitions. Whether a hand-over waits for this."""
        with self._lock:
            self._taken = frozenset()
            is_awaited, self._is_awaited = self._is_awaited, False
        return is_awaited

    def is_over(self) -> bool:
        """Whether the taken partitions are not those to drain any more: it is time to give them back."""
        return self._taken != self.drained.keys()

    def renew(self) -> None:
        """Renew the lease and change owners where shares have changed. Raises ClusterProxyError, ShardProxyError."""
        begun_at = self._clock()
        if self._drained and begun_at >= self._valid_until:
            LEASES_LOST.inc()
        with self._transaction() as connection:
            view = renew_lease(connection, self._worker.id, started_at=self._worker.started_at, terms=self._terms)
        topology = self._cluster.topology
        self._overdue = self._find_overdue(now=begun_at)
        plan = plan_ownership(view, topology, shard_id=self._shard_id, worker=self._worker.id, overdue=self._overdue)
        self._ownerless_since = {p: self._ownerless_since.get(p, begun_at) for p in plan.ownerless}
        with self._lock:
            self._drained = plan.keeps
            self._valid_until = begun_at + self._settings.lease_seconds
            in_use = plan.hand_overs.keys() & self._taken
            self._is_awaited = bool(in_use)
        free = {p: owner for p, owner in plan.hand_overs.items() if p not in in_use}
        if plan.claims or plan.arrivals or free:
            self._change_owners(plan, free, view, topology)
        if plan.is_topology_old and begun_at - self._refreshed_at >= REFRESH_SECONDS:
            self._refreshed_at = begun_at
            self._cluster.refresh_topology()

    def release(self) -> None:
        """End the lease: other processes claim the partitions at once. Raises as `renew`."""
        with self._lock:
            self._drained = {}
        with self._transaction() as connection:
            end_lease(connection, self._worker.id)

    def _change_owners(
        self, plan: OwnershipPlan, hand_overs: Mapping[int, str | None], view: LeaseView, topology: Topology
    ) -> None:
        """In a transaction of its own, so that the renewal never waits for it. Locked rows wait for the next renewal,
        so that neither a flush nor a mover is waited for."""
        rows = {row.partition: row for row in view.partitions}
        epochs = {p: rows[p].epoch for p in hand_overs}
        with self._transaction() as connection:
            change_owners_without_wait(connection)
            accepted = accept_arrived(connection, plan.arrivals) if plan.arrivals else 0
            claimed = claim_partitions(connection, self._worker.id, plan.claims) if plan.claims else frozenset()
            handed = hand_over_partitions(connection, self._worker.id, hand_overs, epochs=epochs) if hand_overs else ()
        overdue = claimed & self._overdue
        self._adopted_until |= dict.fromkeys(overdue, self._clock() + ADOPTED_SECONDS)
        with self._lock:
            self._drained = {**self._drained, **{p: rows[p] for p in claimed if rows[p].state == OWNED}}
        OWNER_CHANGES.labels("claimed").inc(len(claimed))
        OWNER_CHANGES.labels("handed_over").inc(len(handed))
        name = topology.get_shard(self._shard_id).name
        if accepted:
            logger.warning("%s has forgotten that partitions %s came to it; it owns them again", name, [*plan.arrivals])
        if claimed or handed:
            logger.info("%s: claimed partitions %s, handed over %s", name, sorted(claimed), sorted(handed))

    def _find_overdue(self, *, now: float) -> frozenset[int]:
        """Others' partitions that have had no living owner for long: the process whose share they are in sees another
        topology, or cannot claim them. It gets them again when they have been here for a while."""
        self._adopted_until = {p: until for p, until in self._adopted_until.items() if until > now}
        ownerless = self._ownerless_since.items()
        overdue = {p for p, since in ownerless if now - since >= self._settings.ownerless_seconds}
        return frozenset(overdue | self._adopted_until.keys())

    def _transaction(self) -> AbstractContextManager[RowConnection]:
        # Longer than the lease would be of no use, and the class of flushes is never shed.
        return self._cluster.shard_transaction(
            self._shard_id, query_class=QueryClass.FLUSH, deadline_seconds=self._settings.lease_seconds
        )
