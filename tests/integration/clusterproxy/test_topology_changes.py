"""Reads and writes follow a topology that changes, and no transaction begins on a server that it excludes."""

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from clusterproxy.errors import ShardUnavailable
from configservice.topology.model import Role
from shardproxy.errors import (
    ForeignShard,
    HigherGeneration,
    InstanceUnavailable,
    LowerTerm,
    ReadOnlyInstance,
)
from shardproxy.settings import PoolSettings
from tests.integration.clusterproxy.conftest import Shelf, Silent
from tests.integration.clusterproxy.probes import WHERE, change_instance, read_instance, swap_roles, write
from tests.integration.shardproxy.limits import ANY_FILE
from tests.pace import limit
from tests.waiting import wait_until


class TestTopologyChanges:
    def test_a_primary_that_is_a_standby_is_never_written_and_the_new_one_is_found(
        self, open_cluster, shard_servers, topology
    ):
        shelf = Shelf(swap_roles(topology, epoch=2))
        proxy = open_cluster(shelf, topology_poll_seconds=3600.0)
        ran = []
        with pytest.raises(ReadOnlyInstance), proxy.transaction(0):
            ran.append(1)
        assert ran == []
        shelf.topology = change_instance(topology, "shard1a", epoch=3)
        write(proxy, 1)
        assert proxy.topology.epoch == 3
        assert shard_servers.list_rows("shard1a") == [1]

    def test_a_primary_of_a_lower_term_begins_no_transaction(self, open_cluster, shard_servers, topology):
        raised = tuple(msgspec.structs.replace(s, term=2) for s in topology.shards)
        shelf = Shelf(msgspec.structs.replace(topology, epoch=2, shards=raised))
        proxy = open_cluster(shelf)
        ran = []
        with pytest.raises(LowerTerm, match="shard1a: has shard term 1, the topology has 2"), proxy.transaction(0):
            ran.append(1)
        assert ran == []
        shard_servers.set_term("shard1a", 3)
        write(proxy, 1)
        assert shard_servers.list_rows("shard1a") == [1]

    def test_no_transaction_begins_with_a_topology_of_a_generation_below_the_shards(
        self, open_cluster, shard_servers, topology
    ):
        shelf = Shelf(msgspec.structs.replace(topology, epoch=7))
        proxy = open_cluster(shelf, topology_poll_seconds=3600.0)
        shard_servers.set_generation("shard1a", 1)
        ran = []
        expected = "shard1a: has topology generation 1, this process 0"
        with pytest.raises(HigherGeneration, match=expected), proxy.transaction(0):
            ran.append(1)
        assert ran == []
        shelf.topology = msgspec.structs.replace(topology, epoch=3, generation=1)
        write(proxy, 1)
        assert proxy.topology.version == (1, 3)
        assert shard_servers.list_rows("shard1a") == [1]

    def test_nothing_is_written_into_a_shard_of_another_cluster(self, open_cluster, shard_servers, topology):
        ours, theirs = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
        proxy = open_cluster(Shelf(msgspec.structs.replace(topology, cluster_id=ours)))
        shard_servers.set_cluster("shard1a", theirs)
        ran = []
        with pytest.raises(ForeignShard, match=f"shard1a: belongs to cluster {theirs}"), proxy.transaction(0):
            ran.append(1)
        assert ran == []
        shard_servers.set_cluster("shard1a", ours)
        write(proxy, 1)
        assert shard_servers.list_rows("shard1a") == [1]

    def test_a_fenced_instance_is_neither_read_nor_asked_for_its_position(self, open_cluster, topology):
        proxy = open_cluster(Shelf(change_instance(topology, "shard1b", epoch=2, role=Role.FENCED)))
        assert {read_instance(proxy) for _ in range(10)} == {"shard1a"}
        assert sorted(proxy.query_promotable_instances(1, WHERE, {})) == ["shard1a"]

    def test_the_log_is_kept_for_the_primary_and_for_nobody_who_is_drained_or_excluded(self, open_cluster, topology):
        for changed in ({"drained": True}, {"promotable": False}):
            proxy = open_cluster(Shelf(change_instance(topology, "shard1b", epoch=2, **changed)))
            assert sorted(proxy.query_promotable_instances(1, WHERE, {})) == ["shard1a"]
        proxy = open_cluster(Shelf(change_instance(topology, "shard1a", epoch=2, promotable=False)))
        assert sorted(proxy.query_promotable_instances(1, WHERE, {})) == ["shard1a", "shard1b"]

    def test_a_transaction_on_a_frozen_primary_ends_when_another_one_is_published(
        self, open_cluster, shard_servers, topology
    ):
        shelf = Shelf(topology)
        proxy = open_cluster(shelf, pool=PoolSettings(password_refs=ANY_FILE))
        write(proxy, 1)
        began = threading.Event()

        def write_slowly():
            with proxy.transaction(0, deadline_seconds=60.0) as connection:
                connection.execute("SELECT 1")
                began.set()
                connection.execute("SELECT pg_sleep(30)")

        with ThreadPoolExecutor() as executor:
            writing = executor.submit(write_slowly)
            assert began.wait(limit(10))
            shard_servers.cluster.server("shard1a").pause()
            shelf.topology = swap_roles(topology, epoch=2)
            with pytest.raises(InstanceUnavailable):
                writing.result(timeout=limit(10))

    def test_a_read_that_finds_nobody_is_tried_once_more_on_newer_topology(self, open_cluster, topology):
        wrong = change_instance(topology, "shard1a", epoch=1, port=1)
        shelf = Shelf(change_instance(wrong, "shard1b", epoch=1, port=1))
        proxy = open_cluster(shelf, topology_poll_seconds=3600.0)
        with pytest.raises(ShardUnavailable):
            read_instance(proxy)
        shelf.topology = msgspec.structs.replace(topology, epoch=2)
        result = proxy.read(0, WHERE, {})
        assert (result.instance, result.epoch) == ("shard1b", 2)

    def test_connections_to_a_removed_instance_are_closed(self, open_cluster, shard_servers, topology):
        shelf = Shelf(topology)
        proxy = open_cluster(shelf)
        wait_until(lambda: read_instance(proxy) == "shard1b")
        shards = tuple(
            msgspec.structs.replace(s, instances=tuple(i for i in s.instances if i.name != "shard1b"))
            for s in topology.shards
        )
        shelf.topology = msgspec.structs.replace(topology, epoch=2, shards=shards)
        wait_until(lambda: read_instance(proxy) == "shard1a")

        def count_connections():
            with shard_servers.cluster.database("shard1b").connect() as connection:
                return connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'viewcounter%'"
                ).fetchone()[0]

        wait_until(lambda: count_connections() == 0)

    def test_a_process_starts_and_serves_from_its_disk_copy(self, open_cluster, tmp_path):
        state_dir = tmp_path / "shared"
        first = open_cluster(state_dir=state_dir)
        assert read_instance(first) == "shard1b"
        wait_until((state_dir / "topology.json").exists)
        assert read_instance(open_cluster(Silent(), state_dir=state_dir)) == "shard1b"
