"""What one instance does for its callers, on real servers that are killed and frozen."""

import dataclasses
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from configservice.topology.password_refs import PasswordRefRules
from runtime.breaker import BreakerState
from shardproxy.errors import (
    BadStatement,
    Conflict,
    DeadlineExceeded,
    InstanceUnavailable,
    OutcomeUnknown,
    PoolExhausted,
    ReadOnlyInstance,
    ShardProxyError,
    StatementTimeout,
)
from shardproxy.instance import InstanceProxy
from shardproxy.query import Query, QueryClass
from shardproxy.settings import PoolSettings, QueryBudgets
from tests.integration.shardproxy.limits import ANY_FILE, SETTINGS, soon
from tests.pace import limit
from tests.waiting import wait_until

ECHO = Query("echo", "SELECT %(value)s::int AS value", QueryClass.POINT)
SLEEP = Query("sleep", "SELECT pg_sleep(%(seconds)s)", QueryClass.POINT)
INSERT = Query("insert", "INSERT INTO probe VALUES (1)", QueryClass.POINT)


@pytest.fixture
def open_proxy(shard_servers):
    proxies = []

    def open_one(name="shard1a", settings=SETTINGS):
        proxies.append(InstanceProxy(shard_servers.get_instance(name), settings))
        return proxies[-1]

    yield open_one
    for proxy in proxies:
        proxy.close()
        proxy.close_probe()


def answers(proxy):
    try:
        return proxy.read(ECHO, {"value": 7}, deadline_at=soon()) == [{"value": 7}]
    except ShardProxyError:
        return False


def can_insert(proxy):
    try:
        with proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as connection:
            connection.execute("INSERT INTO probe VALUES (1)")
    except Conflict:
        return False
    return True


class TestReads:
    def test_rows_are_dicts_and_statements_stay_right_once_prepared(self, open_proxy):
        proxy = open_proxy()
        other = Query("text", "SELECT %(value)s::text AS value", QueryClass.REPORT)
        for value in range(20):
            assert proxy.read(ECHO, {"value": value}, deadline_at=soon()) == [{"value": value}]
            assert proxy.read(other, {"value": str(value)}, deadline_at=soon()) == [{"value": str(value)}]
        assert proxy.get_stats()["connections_num"] == 1

    def test_a_read_cannot_write_and_the_connection_can_afterwards(self, open_proxy, shard_servers):
        proxy = open_proxy()
        with pytest.raises(ReadOnlyInstance):
            proxy.read(INSERT, {}, deadline_at=soon())
        assert shard_servers.list_rows("shard1a") == []
        with proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as connection:
            connection.execute(INSERT.text)
        with pytest.raises(ReadOnlyInstance):
            proxy.read(INSERT, {}, deadline_at=soon())
        assert shard_servers.list_rows("shard1a") == [1]
        assert proxy.get_stats()["connections_num"] == 1

    def test_the_server_cancels_a_statement_past_its_class_budget(self, open_proxy):
        proxy = open_proxy()
        with pytest.raises(StatementTimeout):
            proxy.read(SLEEP, {"seconds": 60}, deadline_at=soon())
        assert proxy.breaker_state is BreakerState.CLOSED
        assert answers(proxy)
        assert proxy.get_stats()["connections_num"] == 1

    @pytest.mark.parametrize(
        ("text", "params", "sqlstate"),
        [
            ("SELECT * FROM nowhere", {}, "42P01"),
            ("SELECT %(value)s::int", {"value": "x"}, "22P02"),
            ("SELECT %(value)s", {"value": "a\x00b"}, None),
            ("SELECT %(value)s", {"value": "\ud800"}, None),
        ],
    )
    def test_bad_statements_and_bad_data_are_permanent(self, open_proxy, text, params, sqlstate):
        proxy = open_proxy()
        with pytest.raises(BadStatement) as caught:
            proxy.read(Query("bad", text, QueryClass.POINT), params, deadline_at=soon())
        assert caught.value.sqlstate == sqlstate
        assert proxy.breaker_state is BreakerState.CLOSED
        assert answers(proxy)

    def test_a_deadline_that_has_passed_asks_nobody(self, open_proxy):
        proxy = open_proxy()
        with pytest.raises(DeadlineExceeded):
            proxy.read(ECHO, {"value": 1}, deadline_at=time.monotonic())
        assert proxy.get_stats().get("requests_num", 0) == 0

    def test_a_deadline_too_short_for_the_class_does_not_condemn_the_server(self, open_proxy):
        proxy = open_proxy()
        assert answers(proxy)
        with pytest.raises(DeadlineExceeded):
            proxy.read(SLEEP, {"seconds": 60}, deadline_at=soon(0.2))
        assert proxy.breaker_state is BreakerState.CLOSED
        assert answers(proxy)


class TestTransactions:
    def test_commit_and_roll_back(self, open_proxy, shard_servers):
        proxy = open_proxy()
        with proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as connection:
            connection.execute("INSERT INTO probe VALUES (1)")
        with pytest.raises(KeyError), proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as connection:
            connection.execute("INSERT INTO probe VALUES (2)")
            raise KeyError
        with (
            pytest.raises(BadStatement) as caught,
            proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as connection,
        ):
            connection.execute("INSERT INTO probe VALUES (3)")
            connection.execute("INSERT INTO probe VALUES (1)")
        assert caught.value.sqlstate == "23505"
        assert shard_servers.list_rows("shard1a") == [1]
        assert proxy.get_stats()["connections_num"] == 1

    def test_a_failure_that_the_body_swallows_is_not_taken_for_a_commit(self, open_proxy, shard_servers):
        proxy = open_proxy()
        with (
            pytest.raises(BadStatement, match="rolled back"),
            proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as connection,
        ):
            connection.execute("INSERT INTO probe VALUES (1)")
            try:
                connection.execute("SELECT * FROM nowhere")
            except Exception as error:
                swallowed = error
        assert swallowed.sqlstate == "42P01"
        assert shard_servers.list_rows("shard1a") == []

    def test_bulk_copy_and_nested_savepoints_work(self, open_proxy, shard_servers):
        proxy = open_proxy()
        with proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as connection:
            with connection.cursor().copy("COPY probe (id, note) FROM STDIN") as copy:
                for number in range(1000):
                    copy.write_row((number, "x" * 100))
            with pytest.raises(ZeroDivisionError), connection.transaction():
                connection.execute("DELETE FROM probe")
                raise ZeroDivisionError
        assert shard_servers.list_rows("shard1a") == list(range(1000))

    def test_budgets_hold_inside_and_end_with_the_transaction(self, open_proxy):
        proxy = open_proxy()
        with proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as connection:
            inside = connection.execute(
                "SELECT current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock,"
                " current_setting('idle_in_transaction_session_timeout') AS idle"
            ).fetchone()
        assert inside == {"statement": "1s", "lock": "200ms", "idle": "1s"}
        timeout = Query("timeout", "SELECT current_setting('lock_timeout') AS lock", QueryClass.POINT)
        assert proxy.read(timeout, {}, deadline_at=soon()) == [{"lock": "0"}]

    def test_a_flush_without_statements_gives_its_locks_back_before_its_time_is_over(self, open_proxy):
        budgets = QueryBudgets(point_seconds=60.0, flush_seconds=60.0, flush_idle_seconds=0.1)
        frozen, other = (open_proxy(settings=dataclasses.replace(SETTINGS, query=budgets)) for _ in range(2))
        with (
            pytest.raises(InstanceUnavailable),
            frozen.transaction(QueryClass.FLUSH, deadline_at=soon(60.0)) as holder,
        ):
            holder.execute("LOCK TABLE probe IN ACCESS EXCLUSIVE MODE")
            wait_until(lambda: can_insert(other), within_seconds=limit(15.0))
            holder.execute("SELECT 1")

    def test_a_lock_not_granted_in_time_is_a_conflict(self, open_proxy):
        proxy = open_proxy()
        with proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as holder:
            holder.execute("LOCK TABLE probe IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(Conflict), proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as connection:
                connection.execute("INSERT INTO probe VALUES (1)")

    def test_a_standby_refuses_before_the_body_runs(self, open_proxy):
        proxy = open_proxy("shard1b")
        ran = []
        with pytest.raises(ReadOnlyInstance), proxy.transaction(QueryClass.FLUSH, deadline_at=soon()):
            ran.append(1)
        assert ran == []
        assert answers(proxy)

    def test_a_fenced_primary_stays_fenced_for_sessions_that_are_open_already(self, open_proxy, shard_servers):
        proxy = open_proxy()
        assert answers(proxy)
        shard_servers.run_as_superuser(
            "shard1a", "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"
        )

        def is_fenced():
            try:
                with proxy.transaction(QueryClass.FLUSH, deadline_at=soon()):
                    return False
            except ReadOnlyInstance:
                return True

        try:
            wait_until(is_fenced)
            assert answers(proxy)
        finally:
            shard_servers.run_as_superuser(
                "shard1a", "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"
            )
        wait_until(lambda: not is_fenced())

    def test_a_server_that_dies_before_commit_answers_leaves_the_outcome_unknown(self, open_proxy, shard_servers):
        proxy = open_proxy()
        with pytest.raises(OutcomeUnknown), proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as connection:
            connection.execute("INSERT INTO probe VALUES (1)")
            shard_servers.cluster.server("shard1a").kill()
        shard_servers.start("shard1a")
        wait_until(lambda: answers(proxy))
        assert shard_servers.list_rows("shard1a") == []

    def test_a_server_that_freezes_before_commit_answers_leaves_the_outcome_unknown(self, open_proxy, shard_servers):
        proxy = open_proxy()
        with pytest.raises(OutcomeUnknown), proxy.transaction(QueryClass.FLUSH, deadline_at=soon(1.0)) as connection:
            connection.execute("INSERT INTO probe VALUES (1)")
            shard_servers.cluster.server("shard1a").pause()
        shard_servers.cluster.server("shard1a").resume()
        # COMMIT is on the wire, and by the server's clock time is up as well: whichever it sees first decides.
        wait_until(lambda: not shard_servers.is_locked("shard1a"))
        assert shard_servers.list_rows("shard1a") in ([], [1])


class TestBounds:
    def test_a_full_pool_sheds_at_once_when_the_queue_is_full_and_after_a_while_when_not(self, open_proxy):
        settings = PoolSettings(password_refs=ANY_FILE, max_connections=1, max_waiting=1, wait_seconds=1.0)
        proxy = open_proxy(settings=settings)
        with ThreadPoolExecutor(1) as executor, proxy.transaction(QueryClass.FLUSH, deadline_at=soon()):
            queued = executor.submit(proxy.read, ECHO, {"value": 1}, deadline_at=soon())
            wait_until(lambda: proxy.get_stats()["requests_waiting"] == 1)
            with pytest.raises(PoolExhausted, match="queue for a connection is full"):
                proxy.read(ECHO, {"value": 2}, deadline_at=soon())
            assert not queued.done()
            with pytest.raises(PoolExhausted, match="no connection became free in time"):
                queued.result(timeout=limit(10))
        assert proxy.breaker_state is BreakerState.CLOSED
        assert answers(proxy)

    def test_many_callers_never_hold_more_connections_than_the_bound(self, open_proxy):
        proxy = open_proxy(settings=PoolSettings(max_connections=3, password_refs=ANY_FILE))
        count = Query(
            "count",
            "SELECT count(*) AS n, pg_sleep(0.01) FROM pg_stat_activity WHERE application_name = 'viewcounter point'",
            QueryClass.POINT,
        )
        with ThreadPoolExecutor(12) as executor:
            rows = list(executor.map(lambda _: proxy.read(count, {}, deadline_at=soon()), range(60)))
        assert max(row[0]["n"] for row in rows) <= 3

    def test_a_closed_proxy_lets_callers_finish_and_takes_no_new_ones(self, open_proxy, shard_servers):
        proxy = open_proxy()
        with proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as connection:
            proxy.close()
            connection.execute("INSERT INTO probe VALUES (1)")
        assert shard_servers.list_rows("shard1a") == [1]
        with pytest.raises(InstanceUnavailable, match="no longer part of the topology"):
            proxy.read(ECHO, {"value": 1}, deadline_at=soon())


class TestFaults:
    def test_a_killed_server_is_refused_at_once_and_used_again_when_it_is_back(self, open_proxy, shard_servers):
        proxy = open_proxy()
        assert answers(proxy)
        shard_servers.cluster.server("shard1a").kill()
        with pytest.raises(InstanceUnavailable):
            proxy.read(ECHO, {"value": 1}, deadline_at=soon())
        with pytest.raises(InstanceUnavailable, match="circuit breaker open after"):
            proxy.read(ECHO, {"value": 1}, deadline_at=soon())
        shard_servers.start("shard1a")
        wait_until(lambda: answers(proxy))
        assert proxy.breaker_state is BreakerState.CLOSED

    def test_connections_cut_by_a_restart_cost_no_caller_an_error(self, open_proxy, shard_servers):
        proxy = open_proxy()
        barrier = threading.Barrier(4)

        def hold(_):
            with proxy.transaction(QueryClass.FLUSH, deadline_at=soon()):
                barrier.wait(limit(10))

        with ThreadPoolExecutor(4) as executor:
            list(executor.map(hold, range(4)))
        assert proxy.get_stats()["pool_available"] == 4
        shard_servers.cluster.server("shard1a").kill()
        shard_servers.start("shard1a")
        assert proxy.read(ECHO, {"value": 1}, deadline_at=soon()) == [{"value": 1}]

    def test_a_frozen_server_costs_one_bounded_wait_then_is_left_alone(self, open_proxy, shard_servers):
        proxy = open_proxy()
        assert answers(proxy)
        shard_servers.cluster.server("shard1a").pause()
        with pytest.raises(DeadlineExceeded):
            proxy.read(ECHO, {"value": 1}, deadline_at=soon(SETTINGS.get_answer_seconds(QueryClass.POINT) + 0.1))
        with pytest.raises(InstanceUnavailable, match="circuit breaker open after"):
            proxy.read(ECHO, {"value": 1}, deadline_at=soon())
        shard_servers.cluster.server("shard1a").resume()
        wait_until(lambda: answers(proxy))

    def test_a_frozen_server_that_was_never_connected_is_unavailable(self, open_proxy, shard_servers):
        proxy = open_proxy()
        shard_servers.cluster.server("shard1a").pause()
        with pytest.raises(InstanceUnavailable, match="does not answer connection attempts"):
            proxy.read(ECHO, {"value": 1}, deadline_at=soon())
        shard_servers.cluster.server("shard1a").resume()
        wait_until(lambda: answers(proxy))

    def test_a_password_that_cannot_be_read_says_where_it_should_be(self, shard_servers):
        instance = shard_servers.get_instance("shard1a")
        fields = {name: getattr(instance, name) for name in instance.__struct_fields__}
        proxy = InstanceProxy(type(instance)(**fields | {"password_ref": "file:/nonexistent/password"}), SETTINGS)
        with pytest.raises(InstanceUnavailable, match="file:/nonexistent/password: No such file"):
            proxy.read(ECHO, {"value": 1}, deadline_at=soon())
        proxy.close()

    def test_a_password_that_may_not_be_named_is_not_read_and_others_go_on(self, shard_servers, open_proxy, tmp_path):
        (tmp_path / "secret_key").write_text("secret")
        instance = shard_servers.get_instance("shard1a")
        rules = PasswordRefRules(shard_servers.cluster.state.instance_passwords)
        settings = dataclasses.replace(SETTINGS, password_refs=rules)
        false = msgspec.structs.replace(instance, password_ref=f"file:{tmp_path / 'secret_key'}")
        proxy = InstanceProxy(false, settings)
        with pytest.raises(InstanceUnavailable, match="password reference not allowed: file:"):
            proxy.read(ECHO, {"value": 1}, deadline_at=soon())
        proxy.close()
        assert answers(open_proxy(settings=settings))


class TestMeasurements:
    def test_primary_and_replica_are_told_apart_and_a_caught_up_replica_has_no_lag(self, open_proxy):
        primary = open_proxy().measure(timeout_seconds=5.0)
        assert (primary.in_recovery, primary.lag_seconds) == (False, 0.0)
        replica = open_proxy("shard1b")
        wait_until(lambda: replica.measure(timeout_seconds=5.0).lag_seconds == 0.0)
        assert replica.measure(timeout_seconds=5.0).in_recovery

    def test_a_replica_that_stops_replaying_shows_its_lag(self, open_proxy, shard_servers):
        replica = open_proxy("shard1b")
        shard_servers.run_as_superuser("shard1b", "SELECT pg_wal_replay_pause()")
        try:
            with shard_servers.cluster.database("shard1a").connect() as connection:
                connection.execute("INSERT INTO probe VALUES (1)")
            wait_until(lambda: (replica.measure(timeout_seconds=5.0).lag_seconds or 0.0) > 0.0)
        finally:
            shard_servers.run_as_superuser("shard1b", "SELECT pg_wal_replay_resume()")
        wait_until(lambda: replica.measure(timeout_seconds=5.0).lag_seconds == 0.0)

    def test_a_probe_that_succeeds_closes_the_breaker(self, open_proxy, shard_servers):
        proxy = open_proxy(settings=PoolSettings(breaker_open_seconds=3600.0, password_refs=ANY_FILE))
        shard_servers.cluster.server("shard1a").kill()
        with pytest.raises(InstanceUnavailable):
            proxy.read(ECHO, {"value": 1}, deadline_at=soon())
        with pytest.raises(ShardProxyError):
            proxy.measure(timeout_seconds=1.0)
        assert proxy.breaker_state is BreakerState.OPEN
        shard_servers.start("shard1a")
        proxy.measure(timeout_seconds=5.0)
        assert proxy.breaker_state is BreakerState.CLOSED
        assert answers(proxy)


NAME = "SELECT current_setting('application_name') AS name"


class TestNames:
    def test_a_session_is_named_after_the_class_it_runs(self, open_proxy):
        proxy = open_proxy()
        for query_class in QueryClass:
            rows = proxy.read(Query("name", NAME, query_class), {}, deadline_at=soon())
            assert rows == [{"name": f"viewcounter {query_class}"}]
        with proxy.transaction(QueryClass.FLUSH, deadline_at=soon()) as connection:
            assert connection.execute(NAME).fetchone() == {"name": "viewcounter flush"}
        with proxy.transaction(QueryClass.POINT, deadline_at=soon()) as connection:
            assert connection.execute(NAME).fetchone() == {"name": "viewcounter point"}
        assert proxy.get_stats()["connections_num"] == 1
