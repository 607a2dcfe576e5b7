"""Catch-up of a copy: it drains the event log from its own position, as every partition does.

Flushes that the source applies meanwhile are not copied but repeated, by the same code from the same log, up to a
position that the source has reached. The work grows with the number of new events, not of changed rows.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from clusterproxy.results import ReadResult
from configservice.topology.model import Assignment, Topology
from shardproxy.instance import RowConnection
from shardproxy.query import Query, QueryClass
from viewcounter.eventlog.errors import PositionTrimmed
from viewcounter.eventlog.interface import Position
from viewcounter.moves.errors import CopyDiffers, HandOverTooSlow, SourceNotOwned
from viewcounter.moves.throttle import wait_for_replicas
from viewcounter.moves.work import Work
from viewcounter.processing.drain import Drainer
from viewcounter.processing.errors import PartitionNotOwned, PartitionStopped
from viewcounter.processing.isolation import PoisonIsolator
from viewcounter.processing.known_ids import IdCache
from viewcounter.processing.settings import DrainSettings, IsolationSettings
from viewcounter.storage.errors import PartitionNotHere
from viewcounter.storage.moves import Side, check_copy, read_row
from viewcounter.storage.partitions import HELD, INCOMING, OWNED
from viewcounter.storage.settings import DeadLetterLimits

NO_LIMITS = DeadLetterLimits(run_max=2**62, ratio_max=1.0, ratio_min_events=2**62, window_seconds=3600.0)
"""The copy accepts every dead letter that the source has accepted."""


class IncomingAccess:
    """The cluster after the flip: the partition on its target shard, at its new epoch. A PartitionAccess."""

    def __init__(self, cluster: ClusterProxy, target: Side, *, shard_id: int) -> None:
        self._cluster = cluster
        self._target = target
        self._assignment = Assignment(shard_id=shard_id, epoch=target.epoch)

    @property
    def topology(self) -> Topology:
        now = self._cluster.topology
        assignments = list(now.assignments)
        assignments[self._target.partition] = self._assignment
        return msgspec.structs.replace(now, assignments=tuple(assignments))

    def read(
        self,
        partition: int,  # noqa: ARG002
        query: Query,
        params: Mapping[str, Any],
        *,
        consistency: Consistency = Consistency.STRONG,  # noqa: ARG002
    ) -> ReadResult:
        """On the target's primary: only the mover reads the copy before the flip."""
        shard_id = self._assignment.shard_id
        with self._cluster.shard_transaction(shard_id, query_class=query.query_class) as connection:
            rows = connection.execute(query.text, params, binary=query.binary).fetchall()
        return ReadResult(rows=rows, shard_id=shard_id, instance="", epoch=self._cluster.topology.epoch)

    @contextmanager
    def transaction(
        self,
        partition: int,  # noqa: ARG002
        *,
        query_class: QueryClass = QueryClass.FLUSH,
        deadline_seconds: float | None = None,
    ) -> Iterator[RowConnection]:
        """Also raises CopyTaken, when another mover owns the copy."""
        with self._cluster.shard_transaction(
            self._assignment.shard_id, query_class=query_class, deadline_seconds=deadline_seconds
        ) as connection:
            check_copy(connection, self._target)
            yield connection

    def refresh_topology(self) -> None:
        self._cluster.refresh_topology()


class Replayer:
    """Drains the event log into the copy of one move, up to a given position. `close` stops its threads."""

    def __init__(self, work: Work) -> None:
        self._work = work
        access = IncomingAccess(work.tools.cluster, work.target, shard_id=work.move.target_id)
        settings = plan_replay_settings(work.tools.drain, hold_seconds=work.settings.hold_seconds)
        isolation = IsolationSettings(max_seconds=work.settings.throttle_seconds, max_trials=2**31)
        self._drainer = Drainer(
            cluster=access,
            log=work.tools.log,
            ids=IdCache(max_bytes=work.tools.id_cache_bytes),
            settings=settings,
            partition_state=INCOMING,
            poison=PoisonIsolator(cluster=access, settings=isolation, limits=NO_LIMITS, on_trial=work.check),
            on_progress=work.check,
        )

    def close(self) -> None:
        self._drainer.close()

    def replay(self, *, until: Position, ends_at: float | None = None) -> Position:
        """Returns the copy's position: `until`, or a later one that it had already. Raises HandOverTooSlow after
        `ends_at` (monotonic), and CopyDiffers when the copy cannot drain the log any further."""
        while True:
            self._work.check()
            try:
                report = self._drainer.drain([self._work.partition], until=until)
            except (PositionTrimmed, PartitionStopped, PartitionNotHere, PartitionNotOwned) as error:
                raise CopyDiffers(f"the copy cannot be brought up to date: {error}") from error
            position = Position.parse(report.positions[self._work.partition])
            if position >= until:
                return position
            if ends_at is not None and time.monotonic() >= ends_at:
                raise HandOverTooSlow(f"the copy is at {position}, the source at {until}")


def plan_replay_settings(drain: DrainSettings, *, hold_seconds: float) -> DrainSettings:
    """Pure. The settings of workers, for a copy: without limits on dead letters, and in short turns."""
    return replace(drain, dead_letters=NO_LIMITS, budget_seconds=min(hold_seconds, 1.0))


def read_source_position(work: Work) -> Position:
    """Raises SourceNotOwned for a source that takes no flushes at the epoch of this move."""
    with work.open_source() as source:
        row = read_row(source, work.partition)
    if row["epoch"] != work.move.source_epoch or row["state"] not in (OWNED, HELD):
        raise SourceNotOwned(
            f"partition {work.partition} is {row['state']} at epoch {row['epoch']} on {work.move.source}"
        )
    return Position.parse(row["position"])


def catch_up_within(work: Work, replayer: Replayer) -> None:
    """Repeat rounds of reading the source's position and draining up to it, until one takes under `ready_seconds`.

    Raises CopyDiffers after `copy_seconds`.
    """
    ends_at = time.monotonic() + work.settings.copy_seconds
    while time.monotonic() < ends_at:
        wait_for_replicas(work)
        started_at = time.monotonic()
        until = read_source_position(work)
        if replayer.replay(until=until) > until:
            work.pause(work.settings.poll_seconds)  # a failover set the source back; it is draining the log again
        elif time.monotonic() - started_at < work.settings.ready_seconds:
            return
    raise CopyDiffers(f"the copy did not catch up with the source within {work.settings.copy_seconds:g} s")
