"""Reads that demand a position, an age, the primary or a quorum, on replicas that are held back, stopped or killed."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import msgspec
import pytest

from clusterproxy.errors import NotFreshEnough, PrimaryUnavailable, QuorumUnavailable, ShardUnavailable, TooManyWaiting
from clusterproxy.freshness import FreshnessLag, FreshnessRequirement, Progress, ProgressProbe
from clusterproxy.plan import Consistency, Reason
from configservice.topology.model import Durability, Role, StandbyLoss
from shardproxy.query import Query, QueryClass
from tests.integration.clusterproxy.conftest import Shelf
from tests.pace import limit
from tests.waiting import wait_until

PROGRESS = Query(
    "progress",
    "SELECT partition, ms, seq, watermark FROM progress WHERE partition = ANY(%(partitions)s::int[])",
    QueryClass.POINT,
)
ROWS = Query(
    "rows",
    "SELECT partition, ms, seq, watermark, inet_server_port() AS port FROM progress"
    " WHERE partition = ANY(%(partitions)s::int[])",
    QueryClass.POINT,
)
REPORT = Query("report", ROWS.text, QueryClass.REPORT)


def parse(rows):
    return {row["partition"]: Progress((row["ms"], row["seq"]), row["watermark"]) for row in rows}


PROBE = ProgressProbe(PROGRESS, parse)


@pytest.fixture(autouse=True)
def progress(shard_servers):
    """Every partition at 100-0, complete until now, on every instance."""
    for shard, partitions in (("shard1", (0, 2, 4, 6)), ("shard2", (1, 3, 5, 7))):
        with shard_servers.cluster.database(f"{shard}a").connect() as connection:
            connection.execute("DROP TABLE IF EXISTS progress")
            connection.execute(
                "CREATE TABLE progress (partition int PRIMARY KEY, ms bigint, seq bigint, watermark timestamptz)"
            )
            connection.execute("INSERT INTO progress SELECT unnest(%s::int[]), 100, 0, now()", [list(partitions)])
        # Not until it has four rows: those of the test before may be there still.
        wait_until(lambda shard=shard: has_everything(shard_servers, f"{shard}b", f"{shard}a", "replay"))


def has_everything(shard_servers, replica, primary, step="receive"):
    with shard_servers.cluster.database(primary).connect() as connection:
        [written] = connection.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
    with shard_servers.cluster.database(replica).connect() as connection:
        return connection.execute(f"SELECT pg_last_wal_{step}_lsn() >= %s::pg_lsn", [written]).fetchone()[0]


def advance(proxy, partition, ms):
    with proxy.transaction(partition) as connection:
        connection.execute(
            "UPDATE progress SET ms = %s, watermark = clock_timestamp() WHERE partition = %s", [ms, partition]
        )


@contextmanager
def held_back(shard_servers, name):
    """A replica that receives and does not replay."""
    shard_servers.run_as_superuser(name, "SELECT pg_wal_replay_pause()")
    try:
        yield
    finally:
        shard_servers.run_as_superuser(name, "SELECT pg_wal_replay_resume()")


def require(staleness=None, **positions):
    """`require(p0=200)`: partition 0 at 200-0."""
    wanted = {int(name[1:]): (ms, 0) for name, ms in positions.items()}
    return FreshnessRequirement(PROBE, min_positions=wanted, max_staleness_seconds=staleness)


def read(proxy, partition=0, query=ROWS, **more):
    return proxy.read(partition, query, {"partitions": [partition]}, **more)


def name_attempts(result):
    return [(a.instance, a.outcome) for a in result.route.attempts]


class TestMinPosition:
    def test_a_replica_that_is_far_enough_answers_at_once(self, open_cluster):
        cluster = open_cluster()

        def read_from_replica():
            result = read(cluster, requirement=require(p0=100))
            assert result.rows[0]["ms"] == 100
            return result if result.instance == "shard1b" else None

        result = wait_until(read_from_replica, what="a replica that was found fresh")
        assert name_attempts(result) == [("shard1b", "answered")]
        assert (result.route.reason, result.route.waited_seconds) == (Reason.NEAR_REPLICA, 0.0)
        assert result.route.progress[0].position == (100, 0)

    def test_a_replica_that_is_held_back_is_waited_for_and_then_the_primary_answers(self, open_cluster, shard_servers):
        proxy = open_cluster(read_wait_seconds=0.6)
        with held_back(shard_servers, "shard1b"):
            advance(proxy, 0, 200)
            result = read(proxy, requirement=require(p0=200))
            assert (result.instance, result.rows[0]["ms"]) == ("shard1a", 200)
            assert name_attempts(result) == [("shard1b", "behind"), ("shard1a", "answered")]
            assert 0.3 <= result.route.waited_seconds <= result.route.seconds
            assert read(proxy).rows[0]["ms"] == 100

    @pytest.mark.parametrize("query", [ROWS, REPORT])
    def test_what_comes_during_the_wait_is_answered_by_the_replica_that_was_waited_for(self, open_cluster, query):
        proxy = open_cluster(read_wait_seconds=20.0)
        with ThreadPoolExecutor(1) as executor:
            reading = executor.submit(read, proxy, query=query, requirement=require(p0=200))
            wait_until(lambda: proxy.count_waiting_reads() == 1)
            advance(proxy, 0, 200)
            result = reading.result(timeout=limit(20))
        assert (result.instance, result.rows[0]["ms"]) == ("shard1b", 200)
        assert result.route.waited_seconds > 0

    def test_a_position_that_nobody_reaches_is_refused_with_what_was_reached(self, open_cluster):
        proxy = open_cluster(read_wait_seconds=0.2)
        advance(proxy, 0, 150)
        with pytest.raises(NotFreshEnough) as caught:
            read(proxy, requirement=require(p0=200))
        lag = caught.value.lag
        assert (lag.partition, lag.reached.position, lag.required) == (0, (150, 0), (200, 0))
        assert caught.value.shard == "shard1"

    def test_a_position_of_another_partition_does_not_matter(self, open_cluster):
        assert read(open_cluster(), requirement=require(p2=999)).instance == "shard1b"

    def test_a_replica_behind_a_dead_primary_says_how_far_it_is_and_never_answers(self, open_cluster, shard_servers):
        proxy = open_cluster(read_wait_seconds=0.3)
        with held_back(shard_servers, "shard1b"):
            advance(proxy, 0, 200)
            wait_until(lambda: has_everything(shard_servers, "shard1b", "shard1a"))
            shard_servers.cluster.server("shard1a").kill()
            with pytest.raises(NotFreshEnough) as caught:
                read(proxy, requirement=require(p0=200))
            assert caught.value.lag.reached.position == (100, 0)

    def test_the_time_meant_for_a_dead_instance_is_given_to_the_one_that_lives(self, open_cluster, shard_servers):
        asked_in_vain = []
        proxy = open_cluster(
            read_wait_seconds=5.0, on_failed_attempt=lambda instance, _outcome: asked_in_vain.append(instance)
        )
        with held_back(shard_servers, "shard1b"):
            advance(proxy, 0, 200)
            wait_until(lambda: has_everything(shard_servers, "shard1b", "shard1a"))
            shard_servers.cluster.server("shard1a").kill()
            with ThreadPoolExecutor(1) as executor:
                reading = executor.submit(read, proxy, requirement=require(p0=200))
                # Its turn comes when the replica's own half of the wait is over.
                wait_until(lambda: "shard1a" in asked_in_vain)
                assert not reading.done()
                shard_servers.run_as_superuser("shard1b", "SELECT pg_wal_replay_resume()")
                assert reading.result(timeout=limit(20)).rows[0]["ms"] == 200

    def test_when_nobody_answers_it_is_unavailability_and_no_matter_of_age(self, open_cluster, shard_servers):
        proxy = open_cluster()
        for name in ("shard1a", "shard1b"):
            shard_servers.cluster.server(name).kill()
        with pytest.raises(ShardUnavailable) as caught:
            read(proxy, requirement=require(p0=100))
        assert sorted(caught.value.failures) == ["shard1a", "shard1b"]

    def test_no_more_reads_wait_than_may(self, open_cluster):
        proxy = open_cluster(read_wait_seconds=20.0, read_max_waiting=1)
        with ThreadPoolExecutor(1) as executor:
            waiting = executor.submit(read, proxy, requirement=require(p0=200))
            wait_until(lambda: proxy.count_waiting_reads() == 1)
            with pytest.raises(TooManyWaiting):
                read(proxy, 2, requirement=require(p2=200))
            assert read(proxy, 2, requirement=require(p2=100)).rows[0]["ms"] == 100
            advance(proxy, 0, 200)
            assert waiting.result(timeout=limit(20)).rows[0]["ms"] == 200

    def test_all_who_wait_are_answered_by_rows_that_are_far_enough(self, open_cluster):
        proxy = open_cluster(read_wait_seconds=30.0)
        stop = threading.Event()

        def write():
            for ms in range(101, 161):
                advance(proxy, 0, ms)
                advance(proxy, 2, ms)
                if stop.wait(0.01):
                    return

        def read_all(number):
            partition = (0, 2)[number % 2]
            wanted = range(101 + number, 161, 12)
            found = []
            for ms in wanted:
                result = read(proxy, partition, requirement=require(**{f"p{partition}": ms}))
                found.append((ms, result.rows[0]["ms"]))
            return found

        with ThreadPoolExecutor(13) as executor:
            writing = executor.submit(write)
            answers = [pair for pairs in executor.map(read_all, range(12)) for pair in pairs]
            stop.set()
            writing.result(timeout=limit(30))
        assert len(answers) == 60
        assert all(seen >= wanted for wanted, seen in answers)


class TestMaxStaleness:
    def test_a_replica_that_is_too_old_sends_the_read_to_the_primary(self, open_cluster, shard_servers):
        proxy = open_cluster(read_wait_seconds=0.2)
        with held_back(shard_servers, "shard1b"):
            time.sleep(1.1)  # the age itself is what is tested
            advance(proxy, 0, 200)
            assert read(proxy, requirement=require(staleness=60.0)).instance == "shard1b"
            assert read(proxy, requirement=require(staleness=1.0)).instance == "shard1a"

    def test_when_all_copies_are_too_old_it_says_how_old(self, open_cluster):
        proxy = open_cluster(read_wait_seconds=0.2)
        time.sleep(0.6)  # as above
        with pytest.raises(NotFreshEnough) as caught:
            read(proxy, requirement=require(staleness=0.5))
        lag = caught.value.lag
        assert isinstance(lag, FreshnessLag)
        assert (lag.partition, lag.reached.position, lag.required) == (0, (100, 0), None)


class TestStrong:
    def test_the_primary_is_waited_for_alone(self, open_cluster):
        proxy = open_cluster(read_wait_seconds=0.2)
        result = read(proxy, consistency=Consistency.STRONG, requirement=require(p0=100))
        assert (result.instance, result.route.reason) == ("shard1a", Reason.STRONG)
        with pytest.raises(NotFreshEnough):
            read(proxy, consistency=Consistency.STRONG, requirement=require(p0=200))

    def test_a_standby_that_old_topology_calls_primary_does_not_answer(self, open_cluster, topology):
        swapped = {"shard1a": Role.REPLICA, "shard1b": Role.PRIMARY}
        shards = tuple(
            msgspec.structs.replace(
                s, instances=tuple(msgspec.structs.replace(i, role=swapped.get(i.name, i.role)) for i in s.instances)
            )
            for s in topology.shards
        )
        shelf = Shelf(msgspec.structs.replace(topology, shards=shards))
        proxy = open_cluster(shelf, topology_poll_seconds=3600.0)
        with pytest.raises(PrimaryUnavailable):
            read(proxy, consistency=Consistency.STRONG)
        shelf.topology = msgspec.structs.replace(topology, epoch=2)
        result = read(proxy, consistency=Consistency.STRONG)
        assert (result.instance, result.epoch) == ("shard1a", 2)


def make_durable(topology, durability):
    """One replica each; no commit goes on without it."""
    shards = tuple(
        msgspec.structs.replace(s, durability=durability, on_standby_loss=StandbyLoss.BLOCK) for s in topology.shards
    )
    return msgspec.structs.replace(topology, shards=shards)


class TestQuorum:
    def test_the_furthest_of_all_copies_answers_where_the_primary_commits_alone(self, open_cluster, shard_servers):
        proxy = open_cluster()
        with held_back(shard_servers, "shard1b"):
            advance(proxy, 0, 200)
            result = read(proxy, consistency=Consistency.QUORUM, requirement=require())
            assert (result.instance, result.rows[0]["ms"]) == ("shard1a", 200)
            assert result.route.reason is Reason.FURTHEST
            assert name_attempts(result) == [("shard1b", "answered"), ("shard1a", "answered"), ("shard1a", "answered")]

    def test_too_few_copies_are_no_quorum(self, open_cluster, shard_servers):
        proxy = open_cluster()
        shard_servers.cluster.server("shard1b").kill()
        with pytest.raises(QuorumUnavailable) as caught:
            read(proxy, consistency=Consistency.QUORUM, requirement=require())
        assert "1 of the 2 instances" in str(caught.value)
        assert read(proxy).instance == "shard1a"

    def test_a_dead_primary_is_not_needed_where_commits_wait_for_the_replica(
        self, open_cluster, shard_servers, topology
    ):
        proxy = open_cluster(Shelf(make_durable(topology, Durability.QUORUM)))
        shard_servers.cluster.server("shard1a").kill()
        result = read(proxy, consistency=Consistency.QUORUM, requirement=require())
        assert (result.instance, result.rows[0]["ms"], result.route.reason) == ("shard1b", 100, Reason.FURTHEST)

    def test_a_quorum_waits_for_a_position_as_any_read(self, open_cluster):
        proxy = open_cluster(read_wait_seconds=20.0)
        with ThreadPoolExecutor(1) as executor:
            reading = executor.submit(read, proxy, consistency=Consistency.QUORUM, requirement=require(p0=200))
            wait_until(lambda: proxy.count_waiting_reads() == 1)
            advance(proxy, 0, 200)
            assert reading.result(timeout=limit(20)).rows[0]["ms"] == 200


class TestScatter:
    def test_each_shard_meets_the_demand_for_its_own_partitions(self, open_cluster, shard_servers):
        proxy = open_cluster(read_wait_seconds=0.4)
        with held_back(shard_servers, "shard2b"):
            advance(proxy, 3, 200)
            answer = proxy.scatter(ROWS, {}, requirement=require(p0=100, p3=200))
        assert {shard_id: result.instance for shard_id, result in answer.results.items()} == {
            1: "shard1b",
            2: "shard2a",
        }
        assert answer.missing == {}

    def test_a_demand_that_one_shard_does_not_meet_fails_the_whole(self, open_cluster):
        with pytest.raises(NotFreshEnough) as caught:
            open_cluster(read_wait_seconds=0.2).scatter(ROWS, {}, requirement=require(p0=100, p3=200))
        assert (caught.value.shard, caught.value.lag.partition) == ("shard2", 3)

    def test_a_shard_that_does_not_answer_is_missing_whatever_was_demanded(self, open_cluster, shard_servers):
        proxy = open_cluster()
        shard_servers.cluster.server("shard2a").kill()
        shard_servers.cluster.server("shard2b").kill()
        answer = proxy.scatter(ROWS, {}, requirement=require(p0=100, p3=200))
        assert (sorted(answer.results), sorted(answer.missing)) == ([1], [2])

    def test_a_quorum_is_asked_of_every_shard(self, open_cluster):
        answer = open_cluster().scatter(REPORT, {}, consistency=Consistency.QUORUM, requirement=require())
        assert sorted(answer.results) == [1, 2]
        assert all(r.route.reason is Reason.FURTHEST for r in answer.results.values())

    def test_scatters_that_wait_leave_threads_to_those_that_do_not(self, open_cluster):
        proxy = open_cluster(read_wait_seconds=20.0, scatter_max_threads=4)
        with ThreadPoolExecutor(2) as executor:
            waiting = [executor.submit(proxy.scatter, ROWS, {}, requirement=require(p0=200)) for _ in range(2)]
            wait_until(lambda: proxy.count_waiting_reads() == 2)
            assert sorted(proxy.scatter(ROWS, {}).results) == [1, 2]
            assert not any(future.done() for future in waiting)
            advance(proxy, 0, 200)
            assert all(sorted(future.result(timeout=limit(20)).results) == [1, 2] for future in waiting)


def test_a_drained_replica_is_left_alone_and_read_again_afterwards(open_cluster, topology):
    shards = tuple(
        msgspec.structs.replace(
            s, instances=tuple(msgspec.structs.replace(i, drained=i.name == "shard1b") for i in s.instances)
        )
        for s in topology.shards
    )
    shelf = Shelf(msgspec.structs.replace(topology, shards=shards))
    proxy = open_cluster(shelf)
    assert [read(proxy).instance for _ in range(5)] == ["shard1a"] * 5
    shelf.topology = msgspec.structs.replace(topology, epoch=2)
    wait_until(lambda: read(proxy).instance == "shard1b")


def test_a_route_tells_the_way_of_a_plain_read(open_cluster, shard_servers):
    proxy = open_cluster(health_interval_seconds=3600.0)
    assert read(proxy).instance == "shard1b"
    shard_servers.cluster.server("shard1b").stop()
    route = read(proxy).route
    assert (route.epoch, route.shard, route.partitions, route.consistency) == (1, "shard1", (0,), Consistency.EVENTUAL)
    assert (route.instance.name, route.instance.role, route.reason) == ("shard1a", Role.PRIMARY, Reason.PRIMARY)
    *failed, last = [(attempt.instance, attempt.outcome) for attempt in route.attempts]
    assert last == ("shard1a", "answered")
    assert failed in ([], [("shard1b", "unavailable")])  # a probe that was under way may have found out first
    assert sum(a.seconds for a in route.attempts) <= route.seconds
    assert (route.progress, route.cache) == ({}, None)
