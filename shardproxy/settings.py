"""Settings of one instance's proxy and of the daemon beside it. Every wait and every queue of this package is bounded
here, with its unit."""

from dataclasses import dataclass

from configservice.topology.password_refs import PasswordRefRules
from runtime.settings import BIND, section, setting, split_commas
from shardproxy.admission import AdmissionPolicy
from shardproxy.query import QueryClass
from shardproxy.tls import TlsFiles

APPLICATION_NAME = "viewcounter"


@dataclass(frozen=True, slots=True)
class QueryBudgets:
    """Time that statements of each query class may take on a shard."""

    point_seconds: float = setting(1.0, "Maximum duration of a statement of class point (counts of one video).")
    range_seconds: float = setting(3.0, "Maximum duration of a statement of class range (many buckets of one video).")
    report_seconds: float = setting(10.0, "Maximum duration of a statement of class report (many videos at once).")
    flush_seconds: float = setting(15.0, "Maximum duration of a statement of class flush (the counting itself).")
    maintenance_seconds: float = setting(
        60.0, "Maximum duration of a statement of class maintenance (rollups, retention, recounts, catalogue)."
    )
    flush_idle_seconds: float = setting(
        5.0,
        "Time between two statements after which the server ends a transaction of class flush: a frozen worker holds"
        " the rows of its partitions no longer than this.",
    )

    def get_seconds(self, query_class: QueryClass) -> float:
        seconds: float = getattr(self, f"{query_class.value}_seconds")
        return seconds

    def get_idle_seconds(self, query_class: QueryClass) -> float:
        """Within a transaction, between two statements."""
        seconds = self.get_seconds(query_class)
        return min(seconds, self.flush_idle_seconds) if query_class is QueryClass.FLUSH else seconds


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Connections to shards."""

    max_connections: int = setting(
        8, "Maximum number of connections of a process to one instance; one more is kept for health probes."
    )
    flush_reserved: int = setting(1, "Connections of `max_connections` that only flushes may use.", ge=0)
    report_connections: int = setting(3, "Maximum number of connections that queries of class report use at once.")
    max_waiting: int = setting(
        64, "Maximum number of callers queued for a connection to one instance; beyond it calls are shed."
    )
    wait_seconds: float = setting(1.0, "Maximum wait of a caller for a connection; then the call is shed.")
    target_wait_seconds: float = setting(
        0.2,
        "Wait for a connection from which reports are shed with a 503; twice this sheds range queries, four times this"
        " sheds point queries. Flushes are never shed.",
    )
    response_fade_seconds: float = setting(
        10.0, "Time constant of the mean response time of an instance: older answers fade out of the mean."
    )
    connect_timeout_seconds: int = setting(
        2, "Maximum time to connect to a shard or to the control database; libpq takes 2 as the least."
    )
    tls: TlsFiles = section(TlsFiles)
    max_lifetime_seconds: float = setting(3600.0, "Age at which a pooled connection is replaced.")
    max_idle_seconds: float = setting(300.0, "Time after which an unused pooled connection is closed.")
    query: QueryBudgets = section(QueryBudgets)
    lock_timeout_seconds: float = setting(
        2.0, "Maximum wait of a transaction for a lock on a shard; then the statement fails and is tried again."
    )
    migration_lock_seconds: float = setting(
        5.0, "Maximum wait of migrate_shards for the lock of a table on a shard; then the migration fails."
    )
    answer_grace_seconds: float = setting(
        0.25,
        "Time past the maximum duration of a statement after which its server counts as frozen, because it should have"
        " cancelled the statement by itself.",
    )
    breaker_open_seconds: float = setting(1.0, "Time for which an instance that failed gets no connection attempts.")
    rollback_seconds: float = setting(1.0, "Maximum duration of a rollback; then the connection is closed.")
    application_name: str = APPLICATION_NAME
    password_refs: PasswordRefRules = section(PasswordRefRules)

    def build_admission_policy(self) -> AdmissionPolicy:
        return AdmissionPolicy(
            capacity=self.max_connections,
            flush_reserved=self.flush_reserved,
            report_capacity=self.report_connections,
            max_waiting=self.max_waiting,
            wait_seconds=self.wait_seconds,
            target_wait_seconds=self.target_wait_seconds,
        )

    def get_answer_seconds(self, query_class: QueryClass) -> float:
        """Within this a living server has answered, if only by cancelling the statement."""
        return self.query.get_seconds(query_class) + self.answer_grace_seconds


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Shard proxy (run_shardproxy)."""

    user: str = setting(
        "",
        "Role by which run_shardproxy connects to instances; it needs pg_monitor and pg_signal_backend. Empty: the role"
        " of each instance.",
    )
    password_ref: str = setting(
        "",
        "Where the password of that role of run_shardproxy is: env:NAME or file:/absolute/path.",
        pattern=r"^$|^env:.+|^file:/.+",
    )
    metrics_bind: str = setting(
        "",
        "host:port at which run_shardproxy serves /metrics and /healthz without a key; empty: not served.",
        pattern=BIND,
    )
    interval_seconds: float = setting(1.0, "Interval at which run_shardproxy lists the sessions of an instance.")
    answer_seconds: float = setting(
        1.0, "Time within which an instance must answer run_shardproxy; then it counts as unreachable."
    )
    backoff_max_seconds: float = setting(
        2.0, "Longest pause of run_shardproxy between two attempts to reach an instance that does not answer."
    )
    metrics_seconds: float = setting(
        15.0, "Interval at which run_shardproxy measures connections, lag and replication slots of an instance."
    )
    size_seconds: float = setting(60.0, "Interval at which run_shardproxy measures the size of a database.")
    stop_seconds: float = setting(10.0, "Time that run_shardproxy has to stop; then what is left is abandoned.")


@dataclass(frozen=True, slots=True)
class ReaperSettings:
    """Session reaper on shards."""

    slack_seconds: float = setting(
        0.25,
        "Time past the maximum duration of its class that a statement of this service may run before the session reaper"
        " cancels it; the server's own statement_timeout should be first.",
        ge=0,
    )
    grace_seconds: float = setting(
        2.0,
        "Time between the cancel of a statement by the session reaper and the end of its session, if it still runs.",
    )
    foreign_query_seconds: float = setting(
        20.0,
        "Maximum duration of a statement of a session that is not this service's; then the session reaper cancels it.",
    )
    foreign_idle_seconds: float = setting(
        10.0,
        "Maximum time that a session that is not this service's may be idle in a transaction, or idle at all while no"
        " connection is free; then the session reaper ends it.",
    )
    foreign_blocking_seconds: float = setting(
        5.0,
        "Maximum duration of a transaction that is not this service's and blocks one of this service; then the session"
        " reaper ends it.",
    )
    spared_applications: tuple[str, ...] = setting(
        ("pg_dump", "pg_dumpall", "pg_restore", "vacuumdb", "reindexdb"),
        "application_name of sessions that the session reaper never ends, separated by commas.",
        parse=split_commas,
    )
