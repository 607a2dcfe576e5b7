"""Lag of a prepared backlog on real shards and a real log, to the event."""

from collections.abc import Iterator

import pytest

from tests.integration.api.conftest import Api
from tests.integration.queries.rows import await_replicas
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.interface import Position
from viewcounter.eventlog.redis_streams import RedisEventLog


@pytest.fixture
def log(api: Api, servers) -> Iterator[RedisEventLog]:
    servers.valkey("log").empty_log()
    streams = RedisEventLog(servers.environment["VIEWCOUNTER_LOG_URL"], timeout_seconds=2.0)
    yield streams
    streams.close()


def append(log: RedisEventLog, partition: int, event_count: int) -> Position:
    events = [AcceptedEvent(bytes(range(16)), "video", 1, 0, 0)] * event_count
    return log.append({partition: pack_entry(events, received_us=0)}).positions[partition]


def test_every_partition_says_how_many_events_it_is_behind(api: Api, log: RedisEventLog):
    first = append(log, 3, 20)
    append(log, 3, 7)
    append(log, 4, 5)
    with api.cluster.transaction(3) as connection:
        connection.execute("UPDATE partition_state SET position = %s WHERE partition = 3", [str(first)])
    answer = api.get("/v1/partitions", "/v1/partitions", scope="admin")
    partitions = answer["partitions"]
    assert [p["partition"] for p in partitions] == list(range(api.cluster.topology.partition_count))
    assert {p["partition"]: p["events_behind"] for p in partitions if p["events_behind"]} == {3: 7, 4: 5}
    assert (answer["events_behind"], answer["missing"]) == (12, [])
    assert {p["partition"] for p in partitions if p["bytes_behind"]} == {3, 4}
    assert answer["bytes_behind"] == partitions[3]["bytes_behind"] + partitions[4]["bytes_behind"]
    assert partitions[3]["position"] == str(first)
    assert partitions[3]["shard"] == api.cluster.topology.get_shard_of(3).name
    assert {p["partition"] for p in partitions if p["seconds_behind"]} <= {3, 4}


def test_partitions_of_a_shard_that_is_down_are_missing_not_caught_up(api: Api, log: RedisEventLog, servers):
    append(log, 3, 5)
    down = api.cluster.topology.get_shard_of(3)
    primary = servers.database(down.primary.name)
    primary.kill()
    try:
        answer = api.get("/v1/partitions", "/v1/partitions", scope="admin")
    finally:
        primary.start()
        primary.wait_ready()
        await_replicas(api.cluster)
    assert answer["missing"] == api.cluster.topology.get_partitions_of(down.id)
    assert 3 not in [p["partition"] for p in answer["partitions"]]
    assert answer["events_behind"] == 0


def test_lag_is_for_admins(api: Api, log: RedisEventLog):
    assert api.call("GET", "/v1/partitions").json()["code"] == "missing_scope"
