"""Limits of the proxy of one instance: every wait and every queue of this package, with its unit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from configservice.topology.password_refs import PasswordRefRules
from shardproxy.admission import AdmissionPolicy
from shardproxy.query import QueryClass
from shardproxy.tls import NO_FILES, TlsFiles

APPLICATION_NAME = "viewcounter"

DEFAULT_QUERY_SECONDS: Mapping[QueryClass, float] = MappingProxyType(
    {
        QueryClass.POINT: 1.0,
        QueryClass.RANGE: 3.0,
        QueryClass.REPORT: 10.0,
        QueryClass.FLUSH: 15.0,
        QueryClass.MAINTENANCE: 60.0,
    }
)


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """`max_connections` limits the connections for queries; health probes use one more."""

    max_connections: int = 8
    flush_reserved: int = 1
    """Connections reserved for flushes."""
    report_connections: int = 3
    """Maximum number of connections for reports."""
    max_waiting: int = 64
    wait_seconds: float = 1.0
    target_wait_seconds: float = 0.2
    """A longer wait sheds reports; one of twice this time, ranges; of four times, points."""
    response_fade_seconds: float = 10.0
    """Time constant of the mean response time."""
    connect_timeout_seconds: int = 2
    tls: TlsFiles = NO_FILES
    max_lifetime_seconds: float = 3600.0
    max_idle_seconds: float = 300.0
    query_seconds: Mapping[QueryClass, float] = field(default_factory=lambda: DEFAULT_QUERY_SECONDS)
    lock_timeout_seconds: float = 2.0
    answer_grace_seconds: float = 0.25
    """A server that has not cancelled a statement this long after its budget counts as frozen."""
    breaker_open_seconds: float = 1.0
    rollback_seconds: float = 1.0
    application_name: str = APPLICATION_NAME
    password_refs: PasswordRefRules = field(default_factory=PasswordRefRules)
    """Rules for password references; no connection is made to an instance whose reference breaks them."""

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
        """Within this time a healthy server answers, if only by cancelling the statement."""
        return self.query_seconds[query_class] + self.answer_grace_seconds
