"""A shard is added while the cluster runs."""

import json
from pathlib import Path

import pytest

from devtools.localcluster import LocalCluster
from devtools.localcluster.layout import read_added_shards
from devtools.localcluster.state import StateFolder
from devtools.localcluster.status import read_status
from tests.integration.devtools.localcluster.conftest import ONE_SHARD


@pytest.fixture
def prepared(state_dir: Path):
    with LocalCluster(state_dir, spec=ONE_SHARD) as cluster:
        cluster.start_servers()
        cluster.prepare()
        yield cluster


def read_published(cluster: LocalCluster) -> dict:
    with cluster.database("control").connect() as connection:
        query = "SELECT snapshot FROM configservice_topologyepoch ORDER BY epoch DESC LIMIT 1"
        return json.loads(connection.execute(query).fetchone()[0])


def test_a_shard_is_added_beside_running_servers_and_no_partition_moves(prepared: LocalCluster):
    pids = {name: server.pid for name, server in prepared.layout.servers.items()}
    before = read_published(prepared)
    assert prepared.add_shard() == "shard2"
    after = read_published(prepared)
    assert {name: prepared.server(name).pid for name in pids} == pids
    assert [shard["name"] for shard in after["shards"]] == ["shard1", "shard2"]
    assert [(i["name"], i["role"]) for i in after["shards"][1]["instances"]] == [
        ("shard2a", "primary"),
        ("shard2b", "replica"),
    ]
    assert (after["epoch"], after["assignments"]) == (before["epoch"] + 2, before["assignments"])
    with prepared.database("shard2b").connect() as replica:
        assert replica.execute("SELECT count(*) FROM raw_event").fetchone() == (0,)
        assert replica.execute("SELECT count(*) FROM partition_state").fetchone() == (0,)
    assert {d.name for d in read_status(prepared.state).databases if d.is_up} >= {"shard2a", "shard2b"}


def test_an_added_shard_is_there_again_after_a_stop(prepared: LocalCluster, state_dir: Path):
    prepared.add_shard_servers()
    with prepared.database("shard2a").connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    prepared.stop()
    assert read_added_shards(StateFolder(state_dir)) == {"shard2": ("shard2a", "shard2b")}
    with LocalCluster(state_dir, spec=ONE_SHARD) as again:
        again.start_servers()
        with again.database("shard2a").connect() as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
