"""One partition with minutes, rolled and cut at will, beside a plain list of the events in it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import psycopg

from clusterproxy.proxy import ClusterProxy
from viewcounter.maintenance.retention import RetentionReport, retain_partition
from viewcounter.maintenance.rollup import RollupReport, roll_partition
from viewcounter.maintenance.settings import RetentionSettings, RollupSettings
from viewcounter.storage.named_sql import load_queries

PARTITION = 3
GRACE = timedelta(minutes=5)
FLUSH = load_queries("flush.sql")
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Event:
    """`value` in thousandths; `minute` is a whole minute."""

    video_id: str
    type_id: int
    minute: datetime
    value: int


@dataclass
class Rolling:
    """`counted`: what is in the partition."""

    cluster: ClusterProxy
    connection: psycopg.Connection[Any]
    counted: list[Event] = field(default_factory=list)

    def clear(self) -> None:
        self.counted.clear()
        for table in (
            "event_minute",
            "event_hour",
            "event_day",
            "event_total",
            "ledger",
            "rollup_dirty",
            "event_ids",
            "event_sketch",
            "sketch_due",
        ):
            self.connection.execute(f"DELETE FROM {table} WHERE partition = %s", [PARTITION])  # noqa: S608
        self.connection.execute(
            "UPDATE partition_state SET position = DEFAULT, watermark = DEFAULT, rolled_through = DEFAULT,"
            " admits_since = DEFAULT, minutes_since = DEFAULT, hours_since = DEFAULT WHERE partition = %s",
            [PARTITION],
        )

    def flush(self, events: list[Event], *, watermark: datetime) -> None:
        """Adds minutes and marks as a flush does; events that are not admitted any more stay out."""
        admits_since = self.get_state()["admits_since"]
        events = [event for event in events if event.minute >= admits_since]
        with self.connection.transaction():
            self.write(self.connection, events, watermark=watermark)
        self.counted += events

    def write(self, connection: psycopg.Connection[Any], events: list[Event], *, watermark: datetime) -> None:
        # Takes the partition's row first, as the compare-and-set of a flush does.
        [row] = connection.execute(
            "UPDATE partition_state SET watermark = greatest(watermark, %s)"
            " WHERE partition = %s RETURNING rolled_through",
            [watermark, PARTITION],
        ).fetchall()
        if not events:
            return
        columns = {
            "partitions": [PARTITION] * len(events),
            "video_ids": [event.video_id for event in events],
            "type_ids": [event.type_id for event in events],
            "starts": [event.minute for event in events],
        }
        for event in events:
            values = {name: [event.value] for name in ("sums", "mins", "maxs")}
            one = {"video_ids": [event.video_id], "type_ids": [event.type_id], "starts": [event.minute], "counts": [1]}
            connection.execute(FLUSH["add_minutes"].text, {"partitions": [PARTITION], **one, **values})
        hours = sorted({event.minute.replace(minute=0) for event in events})
        connection.execute(
            "INSERT INTO ledger SELECT %s, hour, 1, 1, 0, 0, 0, 0 FROM unnest(%s::timestamptz[]) AS u (hour)"
            " ON CONFLICT DO NOTHING",
            [PARTITION, hours],
        )
        connection.execute(
            FLUSH["mark_dirty"].text, {**columns, "rolled_through": [row["rolled_through"]] * len(events)}
        )

    def roll(self, *, transactions: int = 1000) -> RollupReport:
        settings = RollupSettings(grace_seconds=GRACE.total_seconds(), budget_seconds=transactions + 0.5, marks_max=3)
        return roll_partition(self.cluster, PARTITION, settings=settings, clock=self._tick())

    def retain(self, *, ids: timedelta, minutes: timedelta, hours: timedelta, steps: int = 1000) -> RetentionReport:
        self.connection.execute("DELETE FROM sketch_due")  # as if they were made: there are no raw events here
        policy = RetentionSettings(
            raw_seconds=int(ids.total_seconds()),
            ids_seconds=int(ids.total_seconds()),
            minutes_seconds=int(minutes.total_seconds()),
            hours_seconds=int(hours.total_seconds()),
            budget_seconds=steps + 0.5,
            delete_rows=2,
            drop_lock_seconds=0.5,
        )
        return retain_partition(self.cluster, PARTITION, policy=policy, clock=self._tick())

    @staticmethod
    def _tick() -> Any:
        """A clock on which each look is a second later: a budget is a number of transactions."""
        ticks = count()
        return lambda: float(next(ticks))

    def get_state(self) -> dict[str, Any]:
        [row] = self.connection.execute("SELECT * FROM partition_state WHERE partition = %s", [PARTITION]).fetchall()
        return {k: v.astimezone(UTC) if isinstance(v, datetime) else v for k, v in row.items()}
