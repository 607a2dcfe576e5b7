"""Known rows on real shards, and the same answers computed by brute force."""

import math
import random
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from clusterproxy.errors import ClusterProxyError
from clusterproxy.proxy import ClusterProxy
from runtime.errors import Retryable
from shardproxy.errors import ShardProxyError
from shardproxy.query import Query, QueryClass
from tests.waiting import wait_until
from viewcounter.events.partition import get_partition
from viewcounter.queries.functions import Function
from viewcounter.queries.sketched import SketchFunction, StatsFunction

DAY = datetime(2026, 1, 31, tzinfo=UTC)
WATERMARK = datetime(2026, 2, 3, 12, tzinfo=UTC)

_POSITION = Query("position", "SELECT max(position) AS position FROM partition_state", QueryClass.POINT)


@dataclass(frozen=True)
class MinuteRow:
    """One row of event_minute, and the single values (thousandths) that it was made from."""

    video_id: str
    type_id: int
    start: datetime
    values: tuple[int, ...]


def make_rows(*, seed: int, videos: list[str], minutes: int = 3000, rows_per_video: int = 60) -> list[MinuteRow]:
    """Random rows over `minutes` minutes from DAY on: event types 1 (view) and 6 (watch_time)."""
    rng = random.Random(seed)
    rows = []
    for video_id in videos:
        for minute in rng.sample(range(minutes), rows_per_video):
            values = tuple(rng.choice([0, 1, 500, 1000, 12_345, 10**9]) for _ in range(rng.randint(1, 5)))
            rows.append(MinuteRow(video_id, rng.choice([1, 6]), DAY + timedelta(minutes=minute), values))
    return rows


def store_rows(cluster: ClusterProxy, rows: list[MinuteRow], *, titles: dict[str, str] | None = None) -> None:
    """Into event_minute, event_total and video of each shard; returns when every replica has them too."""
    by_partition = defaultdict(list)
    for row in rows:
        by_partition[get_partition(row.video_id, partition_count=cluster.topology.partition_count)].append(row)
    for partition, own in by_partition.items():
        totals = defaultdict(list)
        for row in own:
            totals[row.video_id, row.type_id].extend(row.values)
        with cluster.transaction(partition) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO event_type (id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                [(event_type.id, event_type.name) for event_type in cluster.topology.event_types],
            )
            cursor.executemany(
                "INSERT INTO video (video_id, partition, title) VALUES (%s, %s, %s)",
                [(v, partition, (titles or {}).get(v, "")) for v in {row.video_id for row in own}],
            )
            cursor.executemany(
                "INSERT INTO event_minute VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                [(partition, row.video_id, row.type_id, row.start, *_summarize(row.values)) for row in own],
            )
            cursor.executemany(
                "INSERT INTO event_total VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [(partition, *key, *_summarize(values)) for key, values in totals.items()],
            )
    await_replicas(cluster)


def await_replicas(cluster: ClusterProxy, *, watermarks: dict[int, datetime] | None = None) -> None:
    """Sets a new position and watermark on every partition, and waits until each instance shows it.

    Also waits for a server that was just started again to be trusted again.
    """
    position = f"{time.time_ns()}-0"
    for shard in cluster.topology.shards:
        wait_until(
            lambda shard=shard: (
                _mark(cluster, shard.id, position, watermarks or {}) and _is_everywhere(cluster, shard.id, position)
            ),
            what=f"every instance of {shard.name} to catch up",
        )


def _mark(cluster: ClusterProxy, shard_id: int, position: str, watermarks: dict[int, datetime]) -> bool:
    try:
        with cluster.shard_transaction(shard_id) as connection:
            connection.execute("UPDATE partition_state SET position = %s, watermark = %s", (position, WATERMARK))
            for partition, watermark in watermarks.items():
                connection.execute(
                    "UPDATE partition_state SET watermark = %s WHERE partition = %s", (watermark, partition)
                )
    except (ShardProxyError, ClusterProxyError) as error:
        assert isinstance(error, Retryable)
        return False
    return True


def _is_everywhere(cluster: ClusterProxy, shard_id: int, position: str) -> bool:
    answers = cluster.query_promotable_instances(shard_id, _POSITION, {}).values()
    return all(not isinstance(answer, Exception) and answer.rows[0]["position"] == position for answer in answers)


def compute(function: StatsFunction, values: list[int]) -> int | float | None:
    """The definition, on single values in thousandths; of viewers on their numbers."""
    if function is SketchFunction.UNIQUE_VIEWERS:
        return len({viewer for viewer in values if viewer})
    if function is Function.COUNT:
        return len(values)
    if function is Function.SUM:
        return in_units(Fraction(sum(values)))
    return compute_of_some(function, values) if values else None


def compute_of_some(function: StatsFunction, values: list[int]) -> int | float:
    if isinstance(function, SketchFunction):
        return in_units(Fraction(sorted(values)[math.ceil(function.rank * len(values)) - 1]))
    if function is Function.AVERAGE:
        return in_units(Fraction(sum(values), len(values)))
    return in_units(Fraction(min(values) if function is Function.MIN else max(values)))


def in_units(thousandths: Fraction) -> int | float:
    units = thousandths / 1000
    return int(units) if units == int(units) else float(units)


def find_videos_by_shard(cluster: ClusterProxy, *, per_shard: int, prefix: str = "v") -> dict[int, list[str]]:
    """Invented ids, `per_shard` of them for each shard."""
    topology = cluster.topology
    videos: dict[int, list[str]] = {shard.id: [] for shard in topology.shards}
    number = 0
    while any(len(own) < per_shard for own in videos.values()):
        video_id = f"{prefix}{number}"
        own = videos[topology.get_shard_of(get_partition(video_id, partition_count=topology.partition_count)).id]
        if len(own) < per_shard:
            own.append(video_id)
        number += 1
    return videos


def _summarize(values: tuple[int, ...] | list[int]) -> tuple[int, int, int, int]:
    return len(values), sum(values), min(values), max(values)
