"""One partition from its first event on: real drains, rollups and retention, with faults at will, beside a model."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import psycopg

from clusterproxy.proxy import ClusterProxy
from shardproxy.errors import OutcomeUnknown
from tests.integration.processing.draining import make_drainer
from tests.integration.processing.faults import FaultyCluster, Killed
from tests.integration.processing.model import Model
from tests.integration.processing.pulling import advance_idle
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.interface import Position
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.maintenance.audit import audit_hour
from viewcounter.maintenance.recount import compare_range, whole_partition
from viewcounter.maintenance.retention import retain_partition
from viewcounter.maintenance.rollup import roll_partition
from viewcounter.maintenance.settings import (
    AuditSettings,
    RecountSettings,
    RetentionSettings,
    RollupSettings,
    SketchSettings,
)
from viewcounter.maintenance.sketching import sketch_partition
from viewcounter.processing.known_ids import IdCache
from viewcounter.storage.settings import DeadLetterLimits

PARTITION = 3
CHANNEL = "channel"
FUTURE = timedelta(minutes=5)
TABLES = (  # each refers to earlier ones only
    "partition_state",
    "video",
    "raw_event",
    "event_ids",
    "event_minute",
    "event_hour",
    "event_day",
    "event_total",
    "rollup_dirty",
    "event_sketch",
    "sketch_due",
    "ledger",
    "dead_letter",
    "event_conflict",
)
DELETE_ALL = [f"DELETE FROM {table} WHERE partition = {PARTITION}" for table in reversed(TABLES)]  # noqa: S608
ID_CACHE_BYTES = (10_000_000, 2_500)
"""Of the two workers: one keeps every id, one only those of a few minutes."""


class Lifetime:
    """What happens to the partition goes through here; `model` has what the shard must have.

    Two workers take turns, so that each finds a partition that the other has moved. `clock` is the log's.
    """

    def __init__(self, cluster: ClusterProxy, connection: psycopg.Connection[Any]) -> None:
        self.cluster = FaultyCluster(cluster)
        self._connection = connection
        connection.execute("INSERT INTO channel (channel_id) VALUES (%s)", [CHANNEL])
        connection.execute("SET synchronous_commit = off")
        connection.execute("CREATE SCHEMA saved")
        self._run(f"CREATE UNLOGGED TABLE saved.{table} (LIKE {table})" for table in TABLES)

    def close(self) -> None:
        self._connection.execute("DROP SCHEMA saved CASCADE")
        self._connection.execute("ALTER TABLE event_ids ALTER COLUMN stored_at SET DEFAULT now()")

    def begin(self, now: datetime, *, videos_of_channel: list[str]) -> None:
        """Anew, with nothing in it; some of the videos belong to the channel."""
        self.now = now
        self._run(DELETE_ALL)
        self._connection.execute("INSERT INTO partition_state (partition, epoch) VALUES (%s, 1)", [PARTITION])
        for video_id in videos_of_channel:
            self._connection.execute("INSERT INTO video VALUES (%s, %s, %s)", [video_id, PARTITION, CHANNEL])
        self._log = MemoryEventLog(clock=lambda: self.now.timestamp())  # noqa: PLW0108 (`now` moves)
        self._entries: list[tuple[Position, list[AcceptedEvent], datetime]] = []
        self._applied_count = 0
        self._workers = [IdCache(max_bytes=size) for size in ID_CACHE_BYTES]
        self.model = Model(frozenset(t.id for t in self.cluster.topology.event_types))
        self._saved: tuple[Model, int] | None = None
        self.save()

    def append(self, events: list[AcceptedEvent]) -> None:
        """What a gateway would take of them, as one entry."""
        latest_us = int((self.now + FUTURE).timestamp() * 1_000_000)
        accepted = [event for event in events if event.occurred_us <= latest_us]
        if accepted:
            received_us = int(self.now.timestamp() * 1_000_000)
            appended = self._log.append({PARTITION: pack_entry(accepted, received_us=received_us)})
            self._entries.append((appended.positions[PARTITION], accepted, self.now))

    def drain(self, *, worker: int, flush_max_events: int, read_entries: int) -> None:
        drainer = make_drainer(
            self.cluster,
            self._log,
            flush_max_events=flush_max_events,
            read_entries=read_entries,
            ids=self._workers[worker],
            now=lambda: self.now,
            dead_letters=DeadLetterLimits(run_max=10**6, ratio_max=1.0, ratio_min_events=1, window_seconds=60.0),
        )
        admits_since = self.get_state()["admits_since"]
        self._set_storing_time()
        try:
            drainer.drain([PARTITION])
        except Killed:
            self._workers[worker] = IdCache(max_bytes=ID_CACHE_BYTES[worker])
        finally:
            self._follow(admits_since)

    def _set_storing_time(self) -> None:
        """The shard's clock is the real one; ids are stored at the time of this lifetime."""
        self._connection.execute(f"ALTER TABLE event_ids ALTER COLUMN stored_at SET DEFAULT '{self.now.isoformat()}'")

    def roll(self, *, transactions: int) -> None:
        settings = RollupSettings(grace_seconds=300.0, budget_seconds=transactions + 0.5, marks_max=3)
        self._survive(lambda: roll_partition(self.cluster, PARTITION, settings=settings, clock=_tick()))

    def sketch(self, *, transactions: int) -> None:
        """A few events and keys at once, so that hours are made in parts and minute by minute."""
        future_seconds = int(FUTURE.total_seconds())
        settings = SketchSettings(
            budget_seconds=transactions + 0.5, max_events=3, max_keys=2, future_seconds=future_seconds
        )
        self._survive(lambda: sketch_partition(self.cluster, PARTITION, settings=settings, clock=_tick()))

    def retain(self, *, ids: timedelta, minutes: timedelta, hours: timedelta, transactions: int) -> None:
        policy = RetentionSettings(
            raw_seconds=int(ids.total_seconds()),
            ids_seconds=int(ids.total_seconds()),
            minutes_seconds=int(minutes.total_seconds()),
            hours_seconds=int(hours.total_seconds()),
            future_seconds=int(FUTURE.total_seconds()),
            budget_seconds=transactions + 0.5,
            delete_rows=2,
            drop_lock_seconds=0.5,
        )
        self._survive(lambda: retain_partition(self.cluster, PARTITION, policy=policy, clock=_tick()))

    def forget_quarters(self) -> None:
        """As if an earlier release had rolled every day."""
        self._connection.execute(
            "UPDATE event_day SET resolution = NULL, slots = NULL, counts = NULL, sums = NULL, mins = NULL, maxs = NULL"
            " WHERE partition = %s",
            [PARTITION],
        )

    def count_coarse_days(self) -> int:
        """Rows of days that have no quarter hours."""
        [row] = self._select(
            "SELECT count(*) AS n FROM event_day WHERE partition = %s AND resolution IS DISTINCT FROM 15"
        )
        return row["n"]

    def advance_idle(self) -> None:
        advance_idle(self.cluster, self._log, now=self.now)

    def trim(self) -> None:
        """Below what every copy of the shard has applied: the saved one counts as a copy."""
        _, saved_count = self._saved or (None, 0)
        applied = min(saved_count, self._applied_count)
        if applied:
            self._log.trim(PARTITION, through=self._entries[applied - 1][0])

    def save(self) -> None:
        self._run(
            f"DELETE FROM saved.{table}; INSERT INTO saved.{table} SELECT * FROM {table} WHERE partition = {PARTITION}"  # noqa: S608
            for table in TABLES
        )
        self._saved = (self.model.copy(), self._applied_count)

    def restore(self) -> None:
        """As a replica does that is promoted with the last transactions missing."""
        model, self._applied_count = self._saved or (self.model, self._applied_count)
        self.model = model.copy()
        self._run(
            [
                *DELETE_ALL,
                *(
                    f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM saved.{table}"  # noqa: S608
                    for table in TABLES
                ),
            ]
        )

    def arm(self, steps: int | None, *, answer_lost: bool) -> None:
        error = OutcomeUnknown("the answer got lost", instance="any") if answer_lost else Killed()
        self.cluster.arm(steps, error)

    def get_state(self) -> dict[str, Any]:
        [row] = self._connection.execute("SELECT * FROM partition_state WHERE partition = %s", [PARTITION]).fetchall()
        return {k: v.astimezone(UTC) if isinstance(v, datetime) else v for k, v in row.items()}

    def check_tables(self) -> None:
        """Every table is what the model says, all events of the log before the watermark are in it."""
        state = self.get_state()
        assert self._read("event_total", by_minute=False) == self.model.get_aggregates(by_minute=False)
        assert self._read("event_minute", by_minute=True, since=state["minutes_since"]) == {
            key: figures
            for key, figures in self.model.get_aggregates(by_minute=True).items()
            if key[2] >= state["minutes_since"]
        }
        names = ("received", "counted", "duplicate", "conflict", "dead_lettered", "digest")
        lines = self._select("SELECT * FROM ledger WHERE partition = %s")
        found = {row["hour"].astimezone(UTC): tuple(int(row[name]) for name in names) for row in lines}
        assert found == self.model.get_ledger()
        raw = self._select("SELECT * FROM raw_event WHERE partition = %s")
        columns = ("video_id", "event_type_id", "value", "viewer")
        assert sorted((r["event_id"].bytes, *(r[name] for name in columns)) for r in raw) == sorted(
            (event.event_id, event.video_id, event.type_id, event.value, event.viewer) for event in self.model.counted
        )
        [letters] = self._select("SELECT coalesce(sum(attempts), 0) AS n FROM dead_letter WHERE partition = %s")
        assert letters["n"] == self.model.count("dead_lettered")
        unapplied = [appended_at for _, _, appended_at in self._entries[self._applied_count :]]
        assert all(appended_at >= state["watermark"] for appended_at in unapplied)

    def check_audit(self, hours: list[datetime]) -> None:
        """Neither an audit nor a recount finds anything to say."""
        future_seconds = int(FUTURE.total_seconds())
        for hour in hours:
            with self.cluster.transaction(PARTITION) as connection:
                limits = AuditSettings(future_seconds=future_seconds, max_differences=10)
                [audit] = audit_hour(connection, [PARTITION], hour=hour, limits=limits)
            assert audit.findings == [], audit.findings
        limits = RecountSettings(future_seconds=future_seconds, range_videos=10, max_differences=10)
        differences = compare_range(self.cluster, whole_partition(PARTITION), limits=limits)
        assert not differences, differences.rows

    def _run(self, statements: Iterable[str]) -> None:
        """In one transaction."""
        self._connection.execute(";".join(statements))

    def _survive(self, act: Any) -> None:
        with suppress(Killed, OutcomeUnknown):
            act()

    def _follow(self, admits_since: datetime) -> None:
        """Lets the model apply what the shard's position says is applied."""
        position = Position.parse(self.get_state()["position"])
        while self._applied_count < len(self._entries) and self._entries[self._applied_count][0] <= position:
            for event in self._entries[self._applied_count][1]:
                self.model.apply(event, admits_since=admits_since)
            self._applied_count += 1

    def _read(self, table: str, *, by_minute: bool, since: datetime | None = None) -> dict[tuple, tuple]:
        rows = self._select(f"SELECT * FROM {table} WHERE partition = %s")  # noqa: S608
        return {
            (r["video_id"], r["event_type_id"], *([r["start"].astimezone(UTC)] if by_minute else [])): (
                r["count"],
                r["sum"],
                r["min"],
                r["max"],
            )
            for r in rows
            if since is None or r["start"] >= since
        }

    def _select(self, statement: str) -> list[dict[str, Any]]:
        return self._connection.execute(statement, [PARTITION]).fetchall()


def _tick() -> Any:
    """A clock on which each look is a second later: a budget is a number of transactions."""
    ticks = count()
    return lambda: float(next(ticks))
