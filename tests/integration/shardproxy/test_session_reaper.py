"""The session reaper on real servers: which sessions it ends, when, and which it never ends."""

import subprocess
import time
from dataclasses import replace

import psycopg
import pytest

from devtools.localcluster.spec import SERVICE_ROLE, SHARD_PROXY_ROLE, SUPERUSER_ROLE
from shardproxy.connection import Purpose, format_session_name
from shardproxy.dedicated_connection import DedicatedConnection
from shardproxy.errors import ShardProxyError, StatementTimeout
from shardproxy.instance import InstanceProxy
from shardproxy.query import Query, QueryClass
from shardproxy.session_reaper import SessionReaper
from shardproxy.settings import PoolSettings, QueryBudgets
from tests.integration.shardproxy.limits import ANY_FILE
from tests.integration.shardproxy.watching import (
    BI_PASSWORD,
    BI_ROLE,
    LONG,
    POLICY,
    REAPER,
    Foreigner,
    watching,
)
from tests.pace import limit
from tests.processes import run, running
from tests.waiting import wait_until


@pytest.fixture
def foreigner(shard_servers):
    shard_servers.run_as_superuser(
        "shard1a",
        f"DO $$ BEGIN CREATE ROLE {BI_ROLE} LOGIN PASSWORD '{BI_PASSWORD}';"
        " EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"GRANT ALL ON probe TO {BI_ROLE}",
    )
    opened = []

    def connect(name="shard1a", **parameters):
        opened.append(Foreigner(shard_servers, name, **parameters))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


@pytest.fixture
def password(shard_servers):
    return shard_servers.cluster.state.get_secret("shard_password")


class TestBudgets:
    def test_a_sleep_of_psql_is_ended_and_two_watches_count_it_once(self, shard_servers, password):
        server = shard_servers.cluster.database("shard1a")
        command = [server.placement.programs.get_path("psql"), "-X", "-c", "SELECT pg_sleep(30), 'geheim'"]
        environment = {
            **server.environment, "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGDATABASE": server.database,
            "PGUSER": SERVICE_ROLE, "PGPASSWORD": password,
        }  # fmt: skip
        with watching(shard_servers) as first, watching(shard_servers) as second:
            started_at = time.monotonic()
            done = run(command, environment=environment, within_seconds=60)
            assert time.monotonic() - started_at >= REAPER.foreign_query_seconds
        assert "canceling statement due to user request" in done.stderr
        kills = first.kills + second.kills
        assert {(k.session_class, k.reason, k.action) for k in kills} == {("foreign", "running", "cancel")}
        assert len({(k.pid, k.backend_start, k.since, k.action) for k in kills}) == 1
        kill = kills[0]
        assert (kill.instance, kill.user, kill.application) == ("shard1a", SERVICE_ROLE, "psql")
        assert (kill.client_address, kill.statement) == ("127.0.0.1", "SELECT pg_sleep(?), ?")
        assert int(kill.fingerprint) != 0
        assert kill.age_seconds >= kill.budget_seconds == 1.0

    def test_a_report_that_its_server_does_not_stop_is_ended_past_its_budget(self, shard_servers):
        settings = PoolSettings(query=QueryBudgets(report_seconds=60.0), password_refs=ANY_FILE)
        proxy = InstanceProxy(shard_servers.get_instance("shard1a"), settings)
        sleep = Query("sleep", "SELECT pg_sleep(%(seconds)s)", QueryClass.REPORT)
        with watching(shard_servers) as recorder:
            started_at = time.monotonic()
            with pytest.raises(StatementTimeout):
                proxy.read(sleep, {"seconds": 30}, deadline_at=started_at + 60)
            assert time.monotonic() - started_at >= POLICY.query.report_seconds
            assert proxy.read(sleep, {"seconds": 0}, deadline_at=time.monotonic() + 10) == [{"pg_sleep": ""}]
        assert proxy.get_stats()["connections_num"] == 1
        assert recorder.list_actions() == [("report", "running", "cancel")]
        proxy.close()

    def test_a_statement_that_ignores_its_cancel_loses_its_session_after_the_grace(self, shard_servers, foreigner):
        stubborn = foreigner()
        with watching(shard_servers) as recorder:
            stubborn.start(
                "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(60);"
                " EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$"
            ).await_end()
        assert recorder.list_actions() == [("foreign", "running", "cancel"), ("foreign", "running", "terminate")]
        assert stubborn.error.sqlstate == "57P01"
        assert (recorder.kills[1].at - recorder.kills[0].at).total_seconds() >= REAPER.grace_seconds

    def test_a_replica_is_watched_like_a_primary(self, shard_servers, foreigner):
        with watching(shard_servers, "shard1b") as recorder:
            reader = foreigner("shard1b").start(LONG).await_end()
        assert reader.seconds >= REAPER.foreign_query_seconds
        assert recorder.list_actions() == [("foreign", "running", "cancel")]


class TestLocks:
    def test_an_idle_transaction_is_ended_by_its_idle_time_and_gives_its_lock_back(self, shard_servers, foreigner):
        holder, waiting = foreigner(), foreigner()
        holder.execute("INSERT INTO probe VALUES (1)").execute("BEGIN").execute("UPDATE probe SET note = 'x'")
        started_at = time.monotonic()
        with watching(
            shard_servers, policy=replace(POLICY, reaper=replace(REAPER, foreign_query_seconds=60))
        ) as recorder:
            waiting.start("UPDATE probe SET note = 'y'").await_end()
            assert time.monotonic() - started_at >= REAPER.foreign_idle_seconds
        assert waiting.error is None and not holder.answers()
        assert recorder.list_actions() == [("foreign", "idle_in_transaction", "terminate")]
        assert recorder.kills[0].pid == holder.pid

    @pytest.mark.parametrize("busy", [False, True])
    def test_a_foreign_lock_holder_goes_once_one_of_ours_waits_for_it(self, shard_servers, foreigner, busy):
        holder = (
            foreigner().execute("INSERT INTO probe VALUES (1)").execute("BEGIN").execute("UPDATE probe SET note = 'x'")
        )
        if busy:
            holder.start(LONG)
        policy = replace(POLICY, reaper=replace(REAPER, foreign_query_seconds=60, foreign_idle_seconds=60))
        settings = PoolSettings(lock_timeout_seconds=30, password_refs=ANY_FILE)
        proxy = InstanceProxy(shard_servers.get_instance("shard1a"), settings)
        with watching(shard_servers, policy=policy) as recorder:
            time.sleep(2 * REAPER.foreign_blocking_seconds)
            assert recorder.kills == []  # it holds up nobody
            with proxy.transaction(QueryClass.FLUSH, deadline_at=time.monotonic() + 15) as connection:
                connection.execute("UPDATE probe SET note = 'ours'")
        action = "cancel" if busy else "terminate"
        assert recorder.list_actions() == [("foreign", "blocking", action)]
        with shard_servers.cluster.database("shard1a").connect() as connection:
            assert connection.execute("SELECT note FROM probe").fetchall() == [("ours",)]
        proxy.close()


class TestWhoStays:
    """Each outlives several times its budget while a foreign session beside it, the proof that the watch acts, goes."""

    STRICT = replace(
        POLICY,
        reaper=replace(REAPER, foreign_query_seconds=0.3, foreign_idle_seconds=0.3),
        query=QueryBudgets(*[0.3] * len(QueryClass)),
    )

    def test_sessions_of_our_machinery_stay(self, shard_servers, foreigner, password):
        ours = [
            foreigner(
                user=SERVICE_ROLE, password=password, application_name=format_session_name("viewcounter", purpose)
            )
            for purpose in Purpose
        ]
        spared = foreigner(application_name="pg_dump")
        policy = replace(self.STRICT, reaper=replace(self.STRICT.reaper, spared_applications=("pg_dump",)))
        with watching(shard_servers, policy=policy) as recorder:
            for one in [*ours, spared]:
                one.start("SELECT pg_sleep(2)")
            victim = foreigner().start(LONG).await_end()
            for one in [*ours, spared]:
                assert one.await_end().error is None
        assert [kill.pid for kill in recorder.kills] == [victim.pid]

    def test_a_slow_base_backup_runs_to_its_end(self, shard_servers, foreigner):
        server = shard_servers.cluster.database("shard1a")
        command = [
            server.placement.programs.get_path("pg_basebackup"), "-h", "127.0.0.1", "-p", str(server.port),
            "-U", "replicator", "-D", "-", "-F", "tar", "-X", "fetch", "--checkpoint=fast", "--max-rate=12M",
        ]  # fmt: skip
        environment = server.environment | {
            "PGPASSWORD": shard_servers.cluster.state.get_secret("replication_password")
        }
        with watching(shard_servers, policy=self.STRICT) as recorder:
            started_at = time.monotonic()
            with running(command, environment=environment, stdout=subprocess.DEVNULL) as backup:
                victim = foreigner().start(LONG).await_end()
                assert backup.wait(limit(60)) == 0
        assert time.monotonic() - started_at > 2 * REAPER.foreign_query_seconds
        assert [kill.pid for kill in recorder.kills] == [victim.pid]

    def test_a_session_that_waits_for_a_synchronous_standby_stays_and_commits_for_real(self, shard_servers, foreigner):
        writer, transaction = foreigner(), foreigner()
        transaction.execute("BEGIN").execute("INSERT INTO probe VALUES (2)")
        shard_servers.run_as_superuser(
            "shard1a", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()"
        )
        try:
            wait_until(lambda: self._read_sync_names(shard_servers) == "nobody")
            # Before the reaper watches: until its COMMIT the transaction is idle, which the reaper would end.
            writer.start("INSERT INTO probe VALUES (1)")
            transaction.start("COMMIT")
            with watching(shard_servers, policy=self.STRICT) as recorder:
                for _ in range(3):
                    foreigner().start(LONG).await_end()
                assert not writer.is_done and not transaction.is_done
                shard_servers.run_as_superuser(
                    "shard1a", "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"
                )
                assert writer.await_end().error is None and transaction.await_end().error is None
        finally:
            shard_servers.run_as_superuser(
                "shard1a", "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"
            )
        assert not {writer.pid, transaction.pid} & {kill.pid for kill in recorder.kills}
        assert writer.notices == transaction.notices == []
        assert min(writer.seconds, transaction.seconds) > 0.9
        assert shard_servers.list_rows("shard1a") == [1, 2]

    @staticmethod
    def _read_sync_names(servers):
        with servers.cluster.database("shard1a").connect() as connection:
            return connection.execute("SHOW synchronous_standby_names").fetchone()[0]

    def test_a_session_that_has_moved_on_since_the_look_is_not_hit(self, shard_servers, foreigner):
        """Between look and act the victim ends its statement and begins the next one on the same connection."""
        victim = foreigner(application_name="victim").start("SELECT pg_sleep(1)")

        class Slow(DedicatedConnection):
            def fetch(self, statement, params=None, *, timeout_seconds):
                if params is not None:
                    assert victim.await_end().error is None
                    victim.start("SELECT pg_sleep(1)")
                    wait_until(lambda: not victim.is_done)
                return super().fetch(statement, params, timeout_seconds=timeout_seconds)

        connection = Slow(
            shard_servers.get_instance("shard1a"), PoolSettings(password_refs=ANY_FILE), purpose=Purpose.SHARD_PROXY
        )
        kills, planned = [], []
        session_reaper = SessionReaper(
            shard_servers.get_instance("shard1a"), connection, self.STRICT,
            on_kill=kills.append, on_refusal=lambda: planned.append("refused"),
        )  # fmt: skip
        time.sleep(0.4)
        session_reaper.run_once(timeout_seconds=5)
        assert victim.await_end().error is None
        assert (kills, planned) == ([], [])
        connection.close()

    def test_a_superuser_is_out_of_reach_which_is_said_once_and_others_still_go(self, shard_servers, foreigner):
        password = shard_servers.cluster.state.get_secret("postgres_password")
        root = foreigner(user=SUPERUSER_ROLE, password=password).start("SELECT pg_sleep(2.5)")
        with watching(shard_servers) as recorder:
            victim = foreigner().start(LONG).await_end()
            assert root.await_end().error is None
        assert recorder.refusals == 1
        assert [kill.pid for kill in recorder.kills] == [victim.pid]


class TestFullServer:
    def test_a_watch_that_starts_late_frees_a_server_without_free_connections(self, shard_servers, foreigner):
        proxy = InstanceProxy(shard_servers.get_instance("shard1a"), PoolSettings(password_refs=ANY_FILE))
        echo = Query("echo", "SELECT 1 AS one", QueryClass.POINT)
        idle = []
        with pytest.raises(psycopg.OperationalError, match="remaining connection slots are reserved"):
            while True:
                idle.append(foreigner().start(LONG) if len(idle) % 10 == 0 else foreigner())
        assert len(idle) > 50
        with pytest.raises(ShardProxyError, match="remaining connection slots are reserved"):
            proxy.read(echo, {}, deadline_at=time.monotonic() + 5)
        with watching(shard_servers) as recorder:
            wait_until(lambda: self._answers(proxy, echo))
            wait_until(lambda: {k.reason for k in recorder.kills} == {"connections", "running"})
        assert all(reachability.is_reachable for reachability in recorder.reachability)
        assert recorder.metrics[0].max_connections == 100
        proxy.close()

    @staticmethod
    def _answers(proxy, query):
        try:
            return proxy.read(query, {}, deadline_at=time.monotonic() + 5) == [{"one": 1}]
        except ShardProxyError:
            return False


class TestFaults:
    def test_the_watch_of_a_server_that_freezes_dies_and_comes_back_goes_on(self, shard_servers, foreigner):
        server = shard_servers.cluster.server("shard1a")
        with watching(shard_servers, answer_seconds=0.5) as recorder:
            wait_until(lambda: recorder.reachability[-1].is_reachable)
            server.pause()
            wait_until(lambda: not recorder.reachability[-1].is_reachable)
            server.resume()
            wait_until(lambda: recorder.reachability[-1].is_reachable)
            server.kill()
            wait_until(lambda: not recorder.reachability[-1].is_reachable)
            shard_servers.start("shard1a")
            wait_until(lambda: recorder.reachability[-1].is_reachable)
            victim = foreigner().start(LONG).await_end()
            assert victim.error.sqlstate == "57014"

    def test_a_server_that_refuses_the_watch_is_there_all_the_same(self, shard_servers, tmp_path):
        (tmp_path / "wrong").write_text("wrong")
        with watching(shard_servers, password_ref=f"file:{tmp_path / 'wrong'}") as recorder:
            wait_until(lambda: len(recorder.reachability) >= 2)
        assert all(
            reachability.is_reachable and "password" in reachability.detail for reachability in recorder.reachability
        )

    def test_metrics_of_primary_and_replica(self, shard_servers, foreigner):
        opened = foreigner().execute("BEGIN").execute("SELECT 1")
        calm = replace(POLICY, reaper=replace(REAPER, foreign_idle_seconds=600))
        with watching(shard_servers, policy=calm) as primary, watching(shard_servers, "shard1b") as replica:
            wait_until(lambda: bool(primary.sizes and len(primary.metrics) > 1 and replica.metrics))
        first, last, other = primary.metrics[0], primary.metrics[-1], replica.metrics[-1]
        assert (last.in_recovery, last.lag_seconds, other.in_recovery) == (False, 0.0, True)
        assert last.oldest_transaction_seconds > first.oldest_transaction_seconds > 0
        assert last.max_connections == 100 and 1 <= last.connections < 20
        assert list(last.slot_retained_bytes) == ["shard1b"] and list(other.slot_retained_bytes) == []
        assert last.sees_sessions and primary.sizes[0] > 1_000_000
        opened.execute("COMMIT")


def test_the_role_of_the_watch_owns_nothing_and_may_not_read_events(shard_servers):
    password = shard_servers.cluster.state.get_secret("shard_proxy_password")
    server = shard_servers.cluster.database("shard1a")
    with (
        psycopg.connect(
            host="127.0.0.1", port=server.port, dbname=server.database, user=SHARD_PROXY_ROLE, password=password
        ) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT * FROM probe")
