"""Reads and writes reach the right server, and go on while servers are stopped, killed, frozen, late or moved."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import msgspec
import pytest

from clusterproxy.errors import ShardUnavailable
from clusterproxy.plan import Consistency
from configservice.topology.model import Role
from runtime.errors import Retryable
from shardproxy.errors import (
    BadStatement,
    DeadlineExceeded,
    ForeignShard,
    HigherGeneration,
    InstanceUnavailable,
    LowerTerm,
    PoolExhausted,
    ReadOnlyInstance,
)
from shardproxy.query import Query, QueryClass
from shardproxy.settings import PoolSettings
from tests.integration.clusterproxy.conftest import POOL, Shelf, Silent
from tests.integration.shardproxy.limits import ANY_FILE
from tests.pace import limit
from tests.waiting import wait_until

WHERE = Query("where", "SELECT inet_server_port() AS port, pg_is_in_recovery() AS replica", QueryClass.POINT)
NOBODY = Query("nobody", "SELECT * FROM nowhere", QueryClass.POINT)
COUNT = Query("count", "SELECT %(partitions)s::int[] AS partitions, inet_server_port() AS port", QueryClass.REPORT)
INSERT = "INSERT INTO probe VALUES (%s)"


def read_instance(proxy, partition=0, **more):
    """The name of the instance that answered."""
    return proxy.read(partition, WHERE, {}, **more).instance


def change_instance(topology, name, *, epoch, **changes):
    """The topology with one instance changed."""
    shards = tuple(
        msgspec.structs.replace(
            shard,
            instances=tuple(msgspec.structs.replace(i, **changes) if i.name == name else i for i in shard.instances),
        )
        for shard in topology.shards
    )
    return msgspec.structs.replace(topology, epoch=epoch, shards=shards)


def swap_roles(topology, *, epoch):
    """Shard 1 with its replica called primary and the other way round."""
    changed = change_instance(topology, "shard1a", epoch=epoch, role=Role.REPLICA)
    return change_instance(changed, "shard1b", epoch=epoch, role=Role.PRIMARY)


def write(proxy, number, **more):
    with proxy.transaction(0, **more) as connection:
        connection.execute(INSERT, [number])


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
