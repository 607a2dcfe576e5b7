"""Watches over real servers, what they report, and sessions that misbehave."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from devtools.localcluster.spec import SHARD_PROXY_ROLE
from shardproxy.instance_metrics import InstanceMetrics
from shardproxy.kill_plan import KillPolicy
from shardproxy.session_reaper import TerminatedSession
from shardproxy.settings import PoolSettings, QueryBudgets, ReaperSettings, WatchSettings
from shardproxy.watch import InstanceWatch, Reachability
from tests.integration.shardproxy.limits import ANY_FILE
from tests.integration.shardproxy.servers import Servers
from tests.pace import limit
from tests.waiting import wait_until

BI_ROLE = "bi"
BI_PASSWORD = "only-for-tests"
LONG = "SELECT pg_sleep(300)"
REAPER = ReaperSettings(
    slack_seconds=0.25,
    foreign_query_seconds=1.0,
    foreign_idle_seconds=1.0,
    foreign_blocking_seconds=1.0,
    grace_seconds=0.5,
)
POLICY = KillPolicy(
    application="viewcounter",
    users=frozenset({"viewcounter", SHARD_PROXY_ROLE}),
    query=QueryBudgets(report_seconds=1.0, flush_seconds=1.0),
    reaper=REAPER,
)


class Recorder:
    """Records all results of a watch."""

    def __init__(self) -> None:
        self.kills: list[TerminatedSession] = []
        self.refusals = 0
        self.reachability: list[Reachability] = []
        self.metrics: list[InstanceMetrics] = []
        self.sizes: list[float] = []

    def on_kill(self, kill: TerminatedSession) -> None:
        self.kills.append(kill)

    def on_refusal(self) -> None:
        self.refusals += 1

    def on_reachability(self, reachability: Reachability) -> None:
        self.reachability.append(reachability)

    def on_metrics(self, metrics: InstanceMetrics) -> None:
        self.metrics.append(metrics)

    def on_database_bytes(self, database_bytes: float) -> None:
        self.sizes.append(database_bytes)

    def list_actions(self) -> list[tuple[str, str, str]]:
        return [(kill.session_class, kill.reason, kill.action) for kill in self.kills]


def build_settings(servers: Servers, **more: Any) -> WatchSettings:
    return WatchSettings(
        **{
            "interval_seconds": 0.5,
            "answer_seconds": 2.0,
            "backoff_max_seconds": 1.0,
            "metrics_seconds": 0.5,
            "size_seconds": 60.0,
            "user": SHARD_PROXY_ROLE,
            "password_ref": f"file:{servers.cluster.state.get_secret_path('shard_proxy_password')}",
            **more,
        }
    )


@contextmanager
def watching(
    servers: Servers, name: str = "shard1a", *, policy: KillPolicy = POLICY, **settings: Any
) -> Iterator[Recorder]:
    """The watch runs while the body runs."""
    recorder = Recorder()
    watch = InstanceWatch(
        servers.get_instance(name),
        build_settings(servers, **settings),
        policy,
        pool=PoolSettings(password_refs=ANY_FILE),
        observer=recorder,
    )
    watch.start()
    try:
        wait_until(lambda: bool(recorder.reachability))
        yield recorder
    finally:
        watch.stop()
        watch.join(timeout_seconds=limit(10))


class Foreigner:
    """A foreign session: connects as `bi` or the given role, and runs statements in a thread."""

    def __init__(self, servers: Servers, name: str = "shard1a", **parameters: Any) -> None:
        server = servers.cluster.database(name)
        self.connection = psycopg.connect(
            host="127.0.0.1",
            port=server.port,
            dbname=server.database,
            **{"user": BI_ROLE, "password": BI_PASSWORD, "application_name": "metabase", **parameters},
            autocommit=True,
        )
        self.pid = self.connection.info.backend_pid
        self.notices: list[str] = []
        self.connection.add_notice_handler(lambda notice: self.notices.append(notice.message_primary or ""))
        self._thread: threading.Thread | None = None
        self.error: BaseException | None = None
        self.seconds = 0.0

    def start(self, statement: str) -> "Foreigner":
        self._thread = threading.Thread(target=self._run, args=(statement,), daemon=True)
        self._thread.start()
        return self

    def execute(self, statement: str) -> "Foreigner":
        self.connection.execute(statement)
        return self

    @property
    def is_done(self) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    def await_end(self) -> "Foreigner":
        """`error` holds the outcome of the statement, `seconds` its duration."""
        assert self._thread is not None
        self._thread.join(limit(30))
        assert self.is_done
        return self

    def answers(self) -> bool:
        try:
            return self.connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.Error:
            return False

    def close(self) -> None:
        with suppress(psycopg.Error):
            self.connection.close()

    def _run(self, statement: str) -> None:
        started_at = time.monotonic()
        try:
            self.connection.execute(statement)
        except psycopg.Error as error:
            self.error = error
        self.seconds = time.monotonic() - started_at
