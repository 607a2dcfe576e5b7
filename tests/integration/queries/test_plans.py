"""Point reads touch the rows they answer with, and no others, on tables of a realistic size."""

import json

import pytest

from tests.conftest import connect_to_shard, empty_shards
from tests.integration.queries.rows import DAY
from viewcounter.queries.periods import bucket_parameters, plan_period, sketch_parameters, split_parameters
from viewcounter.queries.ranges import Interval, Period
from viewcounter.storage import ranges, reads, sketch_reads

VIDEOS = 2000
MINUTES = 30


@pytest.fixture(scope="module")
def filled_shard(servers):
    """The shard of partition 3 with 2,000 videos in it, 2 types each, and 60,000 minute rows; tests only look."""
    with connect_to_shard(empty_shards()) as connection:
        fill(connection)
        yield connection


def fill(shard_connection):
    shard_connection.execute("INSERT INTO event_type VALUES (1, 'view'), (6, 'watch_time') ON CONFLICT DO NOTHING")
    shard_connection.execute("INSERT INTO video SELECT 'v' || i, 3 FROM generate_series(1, %s) i", (VIDEOS,))
    shard_connection.execute(
        "INSERT INTO event_total SELECT 3, 'v' || i, t, 9, 9, 1, 1"
        " FROM generate_series(1, %s) i, (VALUES (1), (6)) v(t)",
        (VIDEOS,),
    )
    shard_connection.execute(
        "INSERT INTO event_minute SELECT 3, 'v' || i, 1, %s::timestamptz + m * interval '1 minute', 9, 9, 1, 1"
        " FROM generate_series(1, %s) i, generate_series(1, %s) m",
        (DAY, VIDEOS, MINUTES),
    )
    for coarser in ("event_hour", "event_day"):
        shard_connection.execute(
            f"INSERT INTO {coarser} SELECT 3, 'v' || i, 1, %s::timestamptz - h * interval '1 day', 9, 9, 1, 1"  # noqa: S608
            " FROM generate_series(1, %s) i, generate_series(1, %s) h",
            (DAY, VIDEOS, MINUTES),
        )
    shard_connection.execute(
        "INSERT INTO rollup_dirty SELECT 3, t, 'v' || i, 1, %s::timestamptz + h * interval '1 hour'"
        " FROM generate_series(1, %s) i, generate_series(1, 5) h, (VALUES ('hour'), ('day')) v(t)",
        (DAY, VIDEOS),
    )
    shard_connection.execute("ANALYZE")


def find_scans(connection, query, params):
    """(node, relation, index) of every access to a table."""
    plan = connection.execute("EXPLAIN (FORMAT JSON) " + query.text, params).fetchone()["QUERY PLAN"]
    root = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
    pending, scans = [root], set()
    while pending:
        node = pending.pop()
        pending += node.get("Plans", [])
        if "Relation Name" in node:
            scans.add((node["Relation Name"], node.get("Index Name")))
        elif "Index Name" in node:
            scans.add((node["Index Name"], node["Index Name"]))
    return scans


VIDEO = {"partition": 3, "video_id": "v7", "event_type_id": 1}


def range_parameters(interval, *videos):
    plan = plan_period(Period(DAY, DAY.replace(hour=1)), interval=interval, max_buckets=1500)
    asked = {"partitions": dict.fromkeys(videos, 3), "event_type_id": 1}
    return bucket_parameters(plan, **asked, extremes=True) | {"partitions": [3]}


@pytest.mark.parametrize(
    ("query", "params", "table"),
    [
        (reads.COUNTS_OF_VIDEO, VIDEO, "event_total"),
        (reads.TOTAL_OF_VIDEO, VIDEO, "event_total"),
        *(
            (ranges.BUCKETS_OF_VIDEOS, range_parameters(interval, *videos), table)
            for table in ("event_day", "event_hour", "event_minute", "rollup_dirty")
            for interval in (None, Interval.MINUTE)
            for videos in (("v7",), [f"v{i}" for i in range(500)])
        ),
        (
            reads.COUNTS_OF_VIDEOS,
            {"partitions": [3], "video_partitions": [3] * 50, "video_ids": [f"v{i}" for i in range(50)]},
            "event_total",
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_reads_of_named_videos_use_the_primary_key(filled_shard, query, params, table):
    scans = {index for relation, index in find_scans(filled_shard, query, params) if relation.startswith(table)}
    assert scans == {f"{table}_pkey"}


def test_sketches_of_named_videos_are_found_by_the_primary_key(filled_shard):
    for tier in ("hour", "day"):
        filled_shard.execute(
            f"INSERT INTO event_sketch SELECT partition, '{tier}', video_id, event_type_id, start, count, 'v', 'q'"  # noqa: S608
            f" FROM event_{tier}"
        )
    filled_shard.execute("ANALYZE event_sketch")
    bounds = {"of_viewers": True, "uses_sketches": True, "future_seconds": 300}
    bounds |= {"max_bytes": 10**6, "max_events": 10**6, "max_pieces": 100}
    for videos in (("v7",), [f"v{i}" for i in range(500)]):
        asked = {"partitions": dict.fromkeys(videos, 3), "event_type_id": 1}
        params = sketch_parameters(plan_period(Period(DAY, DAY.replace(hour=1))), **asked)
        scans = find_scans(filled_shard, sketch_reads.SKETCHES_OF_VIDEOS, params | {"partitions": [3]} | bounds)
        assert {index for relation, index in scans if relation == "event_sketch"} == {"event_sketch_pkey"}


def test_minutes_of_a_top_list_are_found_by_their_time(shard_connection):
    """60,000 rows in the order in which they happened, ten hours of them, of which one is asked for."""
    shard_connection.execute("TRUNCATE event_minute")
    shard_connection.execute(
        "INSERT INTO event_minute SELECT i %% 32, 'v' || i, 1, %s::timestamptz + m * interval '1 minute', 9, 9, 1, 1"
        " FROM generate_series(0, 599) m, generate_series(1, 100) i ORDER BY m, i",
        (DAY,),
    )
    shard_connection.execute("ANALYZE event_minute")
    hour = plan_period(Period(DAY.replace(hour=8, minute=30), DAY.replace(hour=9, minute=30)))
    params = {"partitions": [*range(32)], "event_type_id": 1, "function": "count", "limit": 10}
    params |= split_parameters(hour, extremes=False)
    scans = find_scans(shard_connection, ranges.TOP_OF_RANGE, params)
    assert ("event_minute_start", "event_minute_start") in scans
