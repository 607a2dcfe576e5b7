"""The proof: acknowledged events = raw rows = totals = minutes = ledger, event by event."""

from collections import Counter
from typing import Any

from localcluster.waiting import Waiter
from tests.system.load import LoadClient
from viewcounter.cluster import get_cluster

APPLIED_SECONDS = 60.0


def read_shards(sql: str) -> list[dict[str, Any]]:
    """Rows of every shard's primary."""
    cluster = get_cluster()
    rows = []
    for shard in cluster.topology.shards:
        with cluster.shard_transaction(shard.id) as connection:
            rows += connection.execute(sql).fetchall()
    return rows


def assert_exactly_acknowledged(load: LoadClient, *, story: str) -> None:
    """Waits until all is applied, then compares; `story` tells what was done to the cluster."""
    assert load.refused == [], story
    assert len(load.acknowledged) > 0, story
    Waiter().wait_until(
        lambda: find_lag(load), within_seconds=APPLIED_SECONDS, what="everything acknowledged to be applied"
    )
    raw = Counter(row["event_id"] for row in read_shards("SELECT event_id FROM raw_event"))
    assert raw == Counter(load.acknowledged.keys()), story
    names = {row["id"]: row["name"] for row in read_shards("SELECT id, name FROM event_type")}
    for table in ("event_total", "event_minute"):
        counts: Counter[tuple[str, str]] = Counter()
        for row in read_shards(f"SELECT video_id, event_type_id, count FROM {table}"):  # noqa: S608
            counts[row["video_id"], names[row["event_type_id"]]] += row["count"]
        assert counts == load.expect_counts(), f"{table}: {story}"
    ledger = read_shards(
        "SELECT sum(counted) AS counted, sum(conflict) AS conflict, sum(dead_lettered) AS dead FROM ledger"
    )
    assert sum(row["counted"] for row in ledger) == len(load.acknowledged), story
    assert sum(row["conflict"] + row["dead"] for row in ledger) == 0, story
    assert read_shards("SELECT reason, detail FROM dead_letter") == []


def find_lag(load: LoadClient) -> str | None:
    [*rows] = read_shards("SELECT min(watermark) AS watermark FROM partition_state WHERE state <> 'moved'")
    oldest = min(row["watermark"] for row in rows if row["watermark"] is not None)
    return None if oldest > load.last_acknowledged_at else f"complete until {oldest}"
