"""Reads and writes reach the right server, and go on while servers are stopped, killed, frozen, late or moved."""

import multiprocessing
import threading
from dataclasses import replace

import pytest

from clusterproxy.errors import ShardUnavailable
from clusterproxy.plan import Consistency
from runtime.errors import Retryable
from shardproxy.errors import (
    BadStatement,
    DeadlineExceeded,
    InstanceUnavailable,
    PoolExhausted,
)
from shardproxy.query import Query, QueryClass
from tests.integration.clusterproxy.conftest import POOL
from tests.integration.clusterproxy.probes import (
    COUNT,
    INSERT,
    NOBODY,
    WHERE,
    read_instance,
    write,
)
from tests.pace import limit
from tests.waiting import wait_until


class TestRouting:
    @pytest.mark.parametrize("partition", range(8))
    def test_every_partition_reaches_the_shard_that_owns_it(self, open_cluster, shard_servers, partition):
        cluster = open_cluster()

        def read_from_replica():
            result = cluster.read(partition, WHERE, {})
            assert (result.shard_id, result.epoch) == (1 + partition % 2, 1)
            return result if result.instance == f"shard{result.shard_id}b" else None

        result = wait_until(read_from_replica, what="a replica that was found fresh")
        assert result.rows == [{"port": shard_servers.cluster.database(result.instance).port, "replica": True}]

    def test_strong_reads_ask_the_primary(self, open_cluster, shard_servers):
        result = open_cluster().read(1, WHERE, {}, consistency=Consistency.STRONG)
        assert result.instance == "shard2a"
        assert result.rows == [{"port": shard_servers.cluster.database("shard2a").port, "replica": False}]

    def test_writes_go_to_the_primary_of_the_partitions_shard(self, open_cluster, shard_servers):
        proxy = open_cluster()
        with proxy.transaction(1) as connection:
            connection.execute(INSERT, [11])
        with proxy.shard_transaction(1) as connection:
            connection.execute(INSERT, [22])
        assert (shard_servers.list_rows("shard1a"), shard_servers.list_rows("shard2a")) == ([22], [11])

    @pytest.mark.parametrize("partition", [-1, 8])
    def test_an_unknown_partition_is_refused(self, open_cluster, partition):
        with pytest.raises(IndexError):
            open_cluster().read(partition, WHERE, {})

    def test_a_bad_statement_is_not_tried_on_every_instance(self, open_cluster):
        with pytest.raises(BadStatement) as caught:
            open_cluster().read(0, NOBODY, {})
        assert (caught.value.sqlstate, caught.value.instance) == ("42P01", "shard1b")


class TestScatter:
    def test_each_shard_is_asked_once_for_its_own_partitions(self, open_cluster, shard_servers):
        answer = open_cluster().scatter(COUNT, {})
        assert answer.missing == {}
        assert {shard_id: r.rows[0]["partitions"] for shard_id, r in answer.results.items()} == {
            1: [0, 2, 4, 6],
            2: [1, 3, 5, 7],
        }
        ports = {r.rows[0]["port"] for r in answer.results.values()}
        assert ports == {shard_servers.cluster.database(name).port for name in ("shard1b", "shard2b")}

    def test_only_shards_that_own_a_wanted_partition_are_asked(self, open_cluster):
        answer = open_cluster().scatter(COUNT, {}, partitions=[3, 5])
        assert {shard_id: r.rows[0]["partitions"] for shard_id, r in answer.results.items()} == {2: [3, 5]}

    def test_a_shard_that_is_down_is_named_with_its_partitions(self, open_cluster, shard_servers):
        proxy = open_cluster()
        shard_servers.cluster.server("shard2a").kill()
        shard_servers.cluster.server("shard2b").kill()
        answer = proxy.scatter(COUNT, {})
        assert sorted(answer.results) == [1]
        assert sorted(answer.missing) == [2]
        missing = answer.missing[2]
        assert isinstance(missing, ShardUnavailable)
        assert (missing.shard, missing.partitions) == ("shard2", (1, 3, 5, 7))
        assert sorted(missing.failures) == ["shard2a", "shard2b"]

    def test_a_frozen_shard_is_named_when_the_deadline_passes(self, open_cluster, shard_servers):
        proxy = open_cluster(health_interval_seconds=3600.0)
        assert sorted(proxy.scatter(COUNT, {}).results) == [1, 2]
        shard_servers.cluster.server("shard2a").pause()
        shard_servers.cluster.server("shard2b").pause()
        answer = proxy.scatter(COUNT, {}, deadline_seconds=0.6)
        assert sorted(answer.results) == [1]
        assert [type(error) for error in answer.missing.values()] in ([DeadlineExceeded], [ShardUnavailable])
        assert sorted(answer.missing) == [2]

    def test_an_error_that_all_shards_share_is_raised(self, open_cluster):
        with pytest.raises(BadStatement):
            open_cluster().scatter(NOBODY, {})

    def test_too_many_scatters_at_once_are_shed_by_name(self, open_cluster):
        proxy = open_cluster(scatter_max_threads=1, scatter_max_waiting=0)
        answer = proxy.scatter(COUNT, {})
        assert sorted(answer.results) == [1]
        assert str(answer.missing[2]) == "shard2 (partitions 1, 3, 5, 7): too many scatters at once"


class TestReplicaFaults:
    def test_reads_go_on_while_replicas_are_stopped_and_use_them_again_afterwards(self, open_cluster, shard_servers):
        proxy = open_cluster()
        assert [read_instance(proxy, p) for p in (0, 1)] == ["shard1b", "shard2b"]
        shard_servers.cluster.server("shard1b").stop()
        shard_servers.cluster.server("shard2b").stop()
        for _ in range(20):
            assert [read_instance(proxy, p) for p in (0, 1)] == ["shard1a", "shard2a"]
        write(proxy, 1)
        assert shard_servers.list_rows("shard1a") == [1]
        shard_servers.start("shard1b", "shard2b")
        wait_until(lambda: [read_instance(proxy, p) for p in (0, 1)] == ["shard1b", "shard2b"])

    def test_a_frozen_replica_costs_one_bounded_wait_and_is_then_skipped(self, open_cluster, shard_servers, caplog):
        proxy = open_cluster(health_interval_seconds=3600.0, pool=replace(POOL, breaker_open_seconds=3600.0))
        assert read_instance(proxy) == "shard1b"
        shard_servers.cluster.server("shard1b").pause()
        for _ in range(30):
            assert read_instance(proxy) == "shard1a"
        # None at all if the first health probe met the frozen server before the first of these reads did.
        assert caplog.text.count("circuit breaker open for") <= 1

    def test_probes_find_a_frozen_replica_without_costing_any_read_and_find_it_again(
        self, open_cluster, shard_servers, caplog
    ):
        proxy = open_cluster()
        assert read_instance(proxy) == "shard1b"
        shard_servers.cluster.server("shard1b").pause()
        wait_until(lambda: "unhealthy: shard1b" in caplog.text)
        for _ in range(30):
            assert read_instance(proxy) == "shard1a"
        assert caplog.text.count("circuit breaker open for") == 0
        shard_servers.cluster.server("shard1b").resume()
        wait_until(lambda: read_instance(proxy) == "shard1b")

    def test_replica_read_falls_back_to_primary_when_lag_exceeds_limit(self, open_cluster, shard_servers):
        proxy = open_cluster(replica_max_lag_seconds=0.2)
        wait_until(lambda: read_instance(proxy) == "shard1b")
        shard_servers.run_as_superuser("shard1b", "SELECT pg_wal_replay_pause()")
        try:
            write(proxy, 1)
            wait_until(lambda: read_instance(proxy) == "shard1a")
        finally:
            shard_servers.run_as_superuser("shard1b", "SELECT pg_wal_replay_resume()")
        wait_until(lambda: read_instance(proxy) == "shard1b")

    def test_every_promotable_instance_answers_for_itself(self, open_cluster, shard_servers):
        proxy = open_cluster()
        answers = proxy.query_promotable_instances(1, WHERE, {})
        assert {name: a.rows[0]["replica"] for name, a in answers.items()} == {"shard1a": False, "shard1b": True}
        shard_servers.cluster.server("shard1b").kill()
        answers = proxy.query_promotable_instances(1, WHERE, {})
        assert answers["shard1a"].rows[0]["replica"] is False
        assert isinstance(answers["shard1b"], InstanceUnavailable)


class TestPrimaryFaults:
    def test_reads_survive_a_killed_primary_and_writes_recover_by_themselves(self, open_cluster, shard_servers):
        proxy = open_cluster()
        write(proxy, 1)
        wait_until(lambda: shard_servers.list_rows("shard1b") == [1])
        shard_servers.cluster.server("shard1a").kill()
        for _ in range(5):
            assert read_instance(proxy) == "shard1b"
        for _ in range(3):
            with pytest.raises(InstanceUnavailable):
                write(proxy, 2)
        assert read_instance(proxy, 1) == "shard2b"
        shard_servers.start("shard1a")

        def has_written():
            try:
                write(proxy, 3)
            except Exception as error:
                assert isinstance(error, Retryable)
                return False
            return True

        wait_until(has_written)
        assert shard_servers.list_rows("shard1a") == [1, 3]

    def test_a_frozen_primary_costs_a_write_its_deadline_and_reads_nothing(self, open_cluster, shard_servers):
        proxy = open_cluster()
        write(proxy, 1)
        shard_servers.cluster.server("shard1a").pause()
        with pytest.raises(DeadlineExceeded):
            write(proxy, 2, deadline_seconds=0.5)
        assert read_instance(proxy) == "shard1b"
        shard_servers.cluster.server("shard1a").resume()
        wait_until(lambda: read_instance(proxy, consistency=Consistency.STRONG) == "shard1a")
        write(proxy, 3)
        assert shard_servers.list_rows("shard1a") == [1, 3]

    def test_a_strong_read_without_primary_says_which_shard(self, open_cluster, shard_servers):
        proxy = open_cluster()
        shard_servers.cluster.server("shard1a").kill()
        with pytest.raises(ShardUnavailable) as caught:
            proxy.read(2, WHERE, {}, consistency=Consistency.STRONG)
        assert (caught.value.shard, caught.value.partitions) == ("shard1", (2,))
        assert isinstance(caught.value.failures["shard1a"], InstanceUnavailable)

    def test_a_full_pool_sheds_as_such(self, open_cluster):
        proxy = open_cluster(pool=replace(POOL, max_connections=1, wait_seconds=0.3))
        with proxy.transaction(0), pytest.raises(PoolExhausted):
            proxy.read(0, WHERE, {}, consistency=Consistency.STRONG)
        assert read_instance(proxy, consistency=Consistency.STRONG) == "shard1a"


class TestProcesses:
    def test_a_forked_child_reads_on_connections_of_its_own(self, open_cluster):
        proxy = open_cluster()
        pid_query = Query("pid", "SELECT pg_backend_pid() AS pid", QueryClass.POINT)
        parent_pid = proxy.read(0, pid_query, {}).rows[0]["pid"]
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)

        def run():
            sender.send(proxy.read(0, pid_query, {}).rows[0]["pid"])
            proxy.close()

        child = context.Process(target=run)
        child.start()
        assert receiver.poll(30)
        child_pid = receiver.recv()
        child.join(limit(30))
        assert child.exitcode == 0
        assert child_pid != parent_pid
        assert proxy.read(0, pid_query, {}).rows[0]["pid"] == parent_pid

    def test_closing_stops_every_thread(self, open_cluster):
        before = set(threading.enumerate())
        proxy = open_cluster()
        proxy.scatter(COUNT, {})
        write(proxy, 1)
        assert set(threading.enumerate()) > before
        proxy.close()
        wait_until(lambda: set(threading.enumerate()) <= before)
