"""A partition with events counted by a real drain, and what its aggregates must be by brute force."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from shardproxy.query import Query, QueryClass
from tests.integration.processing.draining import make_drainer
from tests.unit.processing.builders import MINUTE_US, uuid4_of
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.events.partition import get_partition

PARTITION = 3
HOURS = 4
HOUR = timedelta(hours=1)


@dataclass
class Counted:
    """`events` were acknowledged and, after `drain`, are counted."""

    cluster: ClusterProxy
    videos: list[str]
    log: MemoryEventLog
    events: list[AcceptedEvent]
    first_hour: datetime

    def drain(self) -> None:
        assert make_drainer(self.cluster, self.log).drain([PARTITION]).caught_up

    def add(self, *, seed: int, count: int = 40, since_hour: int = 0) -> None:
        """More events in the log, of every hour from `since_hour` on, the older ones late."""
        rng = random.Random(seed)
        start_us = int(self.first_hour.timestamp()) * 1_000_000
        for _ in range(count // 10):
            entry = [
                AcceptedEvent(
                    uuid4_of(len(self.events) + place).bytes,
                    rng.choice(self.videos),
                    rng.choice([1, 1, 6]),
                    start_us + rng.randrange(since_hour * 60, HOURS * 60) * MINUTE_US + rng.randrange(MINUTE_US),
                    rng.choice([500, 1000, 2500]),
                    rng.choice([0, 7, -(2**63), 2**63 - 1]),
                )
                for place in range(10)
            ]
            received_us = int(datetime.now(UTC).timestamp() * 1_000_000)
            self.log.append({PARTITION: pack_entry(entry, received_us=received_us)})
            self.events += entry

    def execute(self, statement: str, *parameters: object) -> int:
        """What an operator's hand may do. Returns how many rows it touched."""
        with self.cluster.transaction(PARTITION) as connection:
            return connection.execute(statement, parameters).rowcount

    def read(self, table: str) -> dict[tuple[object, ...], tuple[int, ...]]:
        """Rows of the partition by (video, type) or (video, type, start)."""
        text = f"SELECT * FROM {table} WHERE partition = %(p)s"  # noqa: S608
        query = Query("rows", text, QueryClass.POINT)
        rows = self.cluster.read(PARTITION, query, {"p": PARTITION}, consistency=Consistency.STRONG).rows
        return {
            (row["video_id"], row["event_type_id"], *([row["start"].astimezone(UTC)] if "start" in row else [])): (
                row["count"],
                row["sum"],
                row["min"],
                row["max"],
            )
            for row in rows
        }

    def expect(self, *, seconds: int | None) -> dict[tuple[object, ...], tuple[int, ...]]:
        """The same, computed from the events; buckets of so many seconds, None: of all time."""
        values: dict[tuple[object, ...], list[int]] = {}
        for event in self.events:
            key: tuple[object, ...] = (event.video_id, event.type_id)
            if seconds is not None:
                start = event.occurred_us // 1_000_000 // seconds * seconds
                key += (datetime.fromtimestamp(start, UTC),)
            values.setdefault(key, []).append(event.value)
        return {key: (len(v), sum(v), min(v), max(v)) for key, v in values.items()}

    def assert_exact(self) -> None:
        assert self.read("event_minute") == self.expect(seconds=60)
        assert self.read("event_total") == self.expect(seconds=None)

    def roll(self, *, through: datetime) -> None:
        """Hours as a rollup makes them, up to there."""
        self.execute(
            "INSERT INTO event_hour SELECT partition, video_id, event_type_id, date_trunc('hour', start, 'UTC'),"
            " sum(count), sum(sum), min(min), max(max) FROM event_minute WHERE start < %s GROUP BY 1, 2, 3, 4",
            through,
        )
        self.execute("UPDATE partition_state SET rolled_through = %s WHERE partition = %s", through, PARTITION)


def count_events(cluster: ClusterProxy, *, seed: int = 1, count: int = 200) -> Counted:
    videos = []
    number = 0
    while len(videos) < 5:
        if get_partition(f"video-{number}", partition_count=cluster.topology.partition_count) == PARTITION:
            videos.append(f"video-{number}")
        number += 1
    # Yesterday at noon at whatever time the test runs: no hour that it makes ends a day.
    first_hour = (datetime.now(UTC) - timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
    counted = Counted(cluster, sorted(videos), MemoryEventLog(), [], first_hour)
    counted.add(seed=seed, count=count)
    counted.drain()
    counted.assert_exact()
    return counted
