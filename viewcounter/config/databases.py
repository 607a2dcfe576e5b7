"""Settings of connections to shards: pools, time budgets, routing, health."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings

from clusterproxy.balancing import Balancer
from configservice.topology.password_refs import DEFAULT_ENV_PREFIX, PasswordRefRules, check_env_prefix
from shardproxy.tls import TlsFiles


class DatabasesConfig(BaseSettings):
    """Connections to the shards."""

    shard_sslrootcert: str = Field(
        "",
        description="file of the certificate authorities of the shards' certificates; system: those of the system",
    )
    shard_sslcert: str = Field("", description="file of the client certificate shown to shards")
    shard_sslkey: str = Field("", description="file of the private key of that certificate, mode 0600")
    pool_max_connections: PositiveInt = Field(8, description="connections an instance, a process")
    pool_max_waiting: PositiveInt = Field(64, description="callers queued for a connection; beyond it shed")
    pool_flush_reserved: NonNegativeInt = Field(1, description="of them, connections that only flushes get")
    pool_report_connections: PositiveInt = Field(3, description="of them, connections that reports get at most")
    pool_wait_seconds: PositiveFloat = Field(1.0, description="one caller waits for a connection this long")
    pool_target_wait_seconds: PositiveFloat = Field(
        0.2, description="longer waits shed reports (503), twice as long ranges, four times points, never flushes"
    )
    pool_max_lifetime_seconds: PositiveFloat = Field(3600.0, description="a connection is replaced after this")
    pool_max_idle_seconds: PositiveFloat = Field(300.0, description="an unused connection is closed after this")
    lock_timeout_seconds: PositiveFloat = Field(2.0, description="a transaction waits this long for a lock on a shard")
    answer_grace_seconds: PositiveFloat = Field(0.25, description="a server this late past a budget counts as frozen")
    breaker_open_seconds: PositiveFloat = Field(1.0, description="an instance that failed is left alone this long")
    rollback_seconds: PositiveFloat = Field(1.0, description="bound of a rollback; then the connection is closed")
    migration_lock_seconds: PositiveFloat = Field(5.0, description="migrate_shards waits this long for a table")
    connect_timeout_seconds: PositiveInt = Field(2, description="libpq's smallest bound is 2")
    point_query_seconds: PositiveFloat = Field(1.0, description="budget of class point")
    range_query_seconds: PositiveFloat = Field(3.0, description="budget of class range")
    report_query_seconds: PositiveFloat = Field(10.0, description="budget of class report")
    flush_query_seconds: PositiveFloat = Field(15.0, description="budget of class flush")
    maintenance_query_seconds: PositiveFloat = Field(60.0, description="budget of class maintenance")
    scatter_seconds: PositiveFloat = Field(5.0, description="one deadline for all shards of a scatter")
    scatter_max_threads: PositiveInt = Field(16, description="shard queries of scatters at once in a process")
    scatter_max_waiting: PositiveInt = Field(64, description="shard queries queued for a thread; beyond it shed")
    health_interval_seconds: PositiveFloat = Field(1.0, description="each process probes each instance this often")
    health_probe_seconds: PositiveFloat = Field(1.0, description="bound of one probe")
    replica_max_lag_seconds: PositiveFloat = Field(10.0, description="a replica behind this is not read")
    read_balancer: Balancer = Field(
        Balancer.ROUND_ROBIN,
        description="between equal replicas: round_robin, least_connections, least_response_time or hash",
    )
    response_fade_seconds: PositiveFloat = Field(10.0, description="an answer counts in response times this long")
    read_wait_seconds: PositiveFloat = Field(2.0, description="a read waits until a copy has what it demands; then 504")
    read_poll_seconds: PositiveFloat = Field(0.02, description="a copy is asked this often how far it is, for all")
    read_max_waiting: PositiveInt = Field(256, description="reads of a process that wait; beyond it 503")
    topology_poll_seconds: PositiveFloat = Field(0.5, description="a new epoch is seen within this")
    topology_first_wait_seconds: PositiveFloat = Field(5.0, description="then a process starts from its disk copy")
    password_ref_dir: Path | None = Field(
        None, description="file:/path in a password reference must lie below this folder; unset: no file is read"
    )
    password_ref_env_prefix: Annotated[str, AfterValidator(check_env_prefix)] = Field(
        DEFAULT_ENV_PREFIX, description="env:NAME in a password reference must begin with it"
    )
    history_max_epochs: PositiveInt = Field(100, description="epochs in one answer of the cluster's history")

    @property
    def password_refs(self) -> PasswordRefRules:
        return PasswordRefRules(self.password_ref_dir, self.password_ref_env_prefix)

    @property
    def shard_tls(self) -> TlsFiles:
        return TlsFiles(self.shard_sslrootcert, self.shard_sslcert, self.shard_sslkey)
