"""Some partitions of one shard, drained together by two workers, with faults and other transactions at will, beside a
model of each partition."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from clusterproxy.proxy import ClusterProxy
from runtime.errors import Retryable
from shardproxy.errors import OutcomeUnknown
from tests.integration.processing.draining import make_drainer
from tests.integration.processing.faults import SERVER_FAULTS, FaultyCluster, Killed
from tests.integration.processing.model import Model
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.interface import Position
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.events.partition import get_partition
from viewcounter.processing.drain import Drainer
from viewcounter.processing.isolation import PoisonIsolator
from viewcounter.processing.known_ids import IdCache
from viewcounter.processing.settings import IsolationSettings
from viewcounter.storage.catalogue import CatalogueCopies, ChannelCopy, VideoCopy
from viewcounter.storage.settings import DeadLetterLimits

POISON = "b\0d"
"""PostgreSQL's text holds no NUL."""
FAULTS = ("killed", "answer lost", *SERVER_FAULTS)
ID_CACHE_BYTES = (10_000_000, 2_500)
LIMITS = DeadLetterLimits(run_max=10**6, ratio_max=1.0, ratio_min_events=1, window_seconds=60.0)
TABLES = (
    "raw_event", "event_ids", "event_minute", "event_total", "ledger", "dead_letter", "event_conflict",
    "rollup_dirty", "sketch_due", "video",
)  # fmt: skip
"""Every table of a partition that a flush writes, those that others refer to last."""
TABLES_READ = {
    "raw": "SELECT event_id, video_id, event_type_id, value, viewer FROM raw_event WHERE partition = %s",
    "totals": "SELECT video_id, event_type_id, count, sum, min, max FROM event_total WHERE partition = %s",
    "minutes": "SELECT video_id, event_type_id, start, count, sum, min, max FROM event_minute WHERE partition = %s",
    "ledger": "SELECT hour, received, counted, duplicate, conflict, dead_lettered, digest FROM ledger"
    " WHERE partition = %s",
    "letters": "SELECT coalesce(sum(attempts), 0)::int AS n FROM dead_letter WHERE partition = %s",
}


@dataclass
class _Partition:
    """`applied_count` of `entries` are in the shard and in the model."""

    model: Model
    entries: list[tuple[Position, list[AcceptedEvent]]] = field(default_factory=list)
    applied_count: int = 0


class JointHistory:
    """What happens to the partitions goes through here; `check` compares the shard with the models."""

    def __init__(self, cluster: ClusterProxy, connection: psycopg.Connection[Any], partitions: Collection[int]) -> None:
        self._bare = cluster
        self._connection = connection
        self._acts: Mapping[int, Callable[[], None]] = {}
        self._transaction_count = 0
        self.cluster = FaultyCluster(cluster, on_transaction=self._count_transaction)
        self.partitions = sorted(partitions)
        self.known_types = frozenset(t.id for t in cluster.topology.event_types)

    def begin(self) -> None:
        """Anew, without an event."""
        deletes = [f"DELETE FROM {table} WHERE partition = ANY(%(partitions)s)" for table in TABLES]  # noqa: S608
        with self._connection.transaction():
            for statement in deletes:
                self._connection.execute(statement, {"partitions": self.partitions})
            self._connection.execute("DELETE FROM channel")
            self._connection.execute(
                "UPDATE partition_state SET position = DEFAULT, watermark = DEFAULT, state = 'owned'"
                " WHERE partition = ANY(%s)",
                [self.partitions],
            )
        self._log = MemoryEventLog()
        self._workers = [IdCache(max_bytes=size) for size in ID_CACHE_BYTES]
        self._of = {partition: _Partition(Model(self.known_types)) for partition in self.partitions}

    def append(self, events: Mapping[int, list[AcceptedEvent]]) -> None:
        """One group commit of a gateway."""
        received_us = int(datetime.now(UTC).timestamp() * 1_000_000)
        appended = self._log.append({p: pack_entry(each, received_us=received_us) for p, each in events.items()})
        for partition, position in appended.positions.items():
            self._of[partition].entries.append((position, events[partition]))

    def drain(
        self,
        partitions: Collection[int],
        *,
        worker: int,
        flush_max_events: int = 100,
        fault: tuple[int, str] | None = None,
        meanwhile: Mapping[int, Callable[[], None]] | None = None,
    ) -> None:
        """`fault`: the step that fails, and how. `meanwhile`: what others do before the n-th transaction."""
        drainer = self._build_drainer(self.cluster, worker, flush_max_events)
        if fault is not None:
            steps, kind = fault
            lost = OutcomeUnknown("the answer got lost", instance="any")
            self.cluster.arm(steps, {"answer lost": lost, "killed": Killed()}.get(kind) or SERVER_FAULTS[kind])
        self._acts, self._transaction_count = meanwhile or {}, 0
        try:
            _drain(drainer, partitions)
        except Killed:
            self._workers[worker] = IdCache(max_bytes=ID_CACHE_BYTES[worker])
        finally:
            self.cluster.arm(None)
            self._acts = {}
        self._follow()

    def drain_beside(self, partitions: Collection[int], *, worker: int, flush_max_events: int = 20) -> str | None:
        """Another worker, to which nothing is injected. The SQLSTATE of the error that ended the drain, if any."""
        error = _drain(self._build_drainer(self._bare, worker, flush_max_events), partitions)
        return getattr(error, "sqlstate", None)

    def lock_rows(self, connection: psycopg.Connection[Any], partitions: Collection[int]) -> None:
        """In the opposite order of flushes, with time between them, within the connection's transaction."""
        for partition in sorted(partitions, reverse=True):
            connection.execute("SELECT FROM partition_state WHERE partition = %s FOR UPDATE", [partition])
            connection.execute("SELECT pg_sleep(0.005)")

    def finish(self) -> None:
        """Drains everything, with nothing in the way."""
        report = self._build_drainer(self._bare, 0, 1000).drain(self.partitions)
        assert report.caught_up
        self._follow()

    def set_state(self, partition: int, state: str) -> None:
        self._connection.execute("UPDATE partition_state SET state = %s WHERE partition = %s", [state, partition])

    def check(self) -> None:
        """Every table of every partition is what its model says."""
        for partition, of in self._of.items():
            found = {
                name: [tuple(row.values()) for row in self._connection.execute(statement, [partition])]
                for name, statement in TABLES_READ.items()
            }
            model = of.model
            assert of.applied_count == len(of.entries)
            assert sorted((i.bytes, *rest) for i, *rest in found["raw"]) == sorted(
                (e.event_id, e.video_id, e.type_id, e.value, e.viewer) for e in model.counted
            )
            assert {row[:2]: row[2:] for row in found["totals"]} == model.get_aggregates(by_minute=False)
            minutes = {(v, t, start.astimezone(UTC)): rest for v, t, start, *rest in found["minutes"]}
            assert {key: tuple(rest) for key, rest in minutes.items()} == model.get_aggregates(by_minute=True)
            ledger = {hour.astimezone(UTC): tuple(map(int, rest)) for hour, *rest in found["ledger"]}
            assert ledger == model.get_ledger()
            assert found["letters"] == [(model.count("dead_lettered"),)]

    def _build_drainer(self, cluster: Any, worker: int, flush_max_events: int) -> Drainer:
        settings = IsolationSettings(max_seconds=20.0, max_trials=500)
        return make_drainer(
            cluster,
            self._log,
            flush_max_events=flush_max_events,
            ids=self._workers[worker],
            dead_letters=LIMITS,
            poison=PoisonIsolator(cluster=cluster, settings=settings, limits=LIMITS),
            find_copies=_find_copies,
        )

    def _count_transaction(self) -> None:
        self._transaction_count += 1
        if self._transaction_count in self._acts:
            self._acts[self._transaction_count]()

    def _follow(self) -> None:
        """Let the models apply what the positions on the shard say is applied."""
        rows = self._connection.execute(
            "SELECT partition, position, admits_since FROM partition_state WHERE partition = ANY(%s)", [self.partitions]
        )
        for row in rows:
            of, position = self._of[row["partition"]], Position.parse(row["position"])
            while of.applied_count < len(of.entries) and of.entries[of.applied_count][0] <= position:
                for event in of.entries[of.applied_count][1]:
                    of.model.apply(event, admits_since=row["admits_since"])
                of.applied_count += 1


def _drain(drainer: Drainer, partitions: Collection[int]) -> Exception | None:
    """Returns the error of a drain that is to be repeated; any other fails the test."""
    try:
        drainer.drain(partitions)
    except Killed:
        raise
    except Exception as error:
        if not isinstance(error, Retryable):
            raise
        return error
    finally:
        drainer.close()
    return None


def list_videos(partition: int, *, partition_count: int, count: int) -> list[str]:
    names = (f"video-{number}" for number in range(100_000))
    own = (name for name in names if get_partition(name, partition_count=partition_count) == partition)
    return [next(own) for _ in range(count)]


def _find_copies(partitions: Mapping[str, int]) -> CatalogueCopies:
    """Videos of all partitions are of the same few channels."""
    channels = [ChannelCopy(f"channel-{number}", "", 1) for number in range(3)]
    videos = [VideoCopy(v, partition, f"channel-{len(v) % 3}", "", 1) for v, partition in partitions.items()]
    return CatalogueCopies(channels, videos)
