"""The proof of the drill, on the cluster of the settings."""

from typing import Any

from devtools.drill.load import LoadClient
from devtools.drill.proof import find_miscounts
from tests.waiting import wait_while
from viewcounter.cluster import get_cluster


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
    wait_while(lambda: find_lag(load), what="everything acknowledged to be applied")
    assert find_miscounts(load, read_shards) == [], story


def find_lag(load: LoadClient) -> str | None:
    [*rows] = read_shards("SELECT min(watermark) AS watermark FROM partition_state WHERE state <> 'moved'")
    oldest = min(row["watermark"] for row in rows if row["watermark"] is not None)
    return None if oldest > load.last_acknowledged_at else f"complete until {oldest}"
