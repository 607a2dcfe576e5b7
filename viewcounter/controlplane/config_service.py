"""Builds the config service of this process: connections with deadlines from `shardproxy`, limits from the settings."""

import os
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
from django.db import connections

from configservice.daemon import ConfigService
from configservice.errors import (
    ActionFailed,
    ConfigServiceError,
    InstanceGone,
    InstanceRefuses,
    InstanceSilent,
    InstanceUnusable,
    LogUnavailable,
)
from configservice.failover.kept_log import LogReading, LogWatch
from configservice.failover.lease import Lease
from configservice.monitoring.shard_proxy_witness import ShardProxyWitness
from configservice.monitoring.witness_reports import WitnessReader
from configservice.topology.cluster_cache import get_cluster_cache
from configservice.topology.model import Instance
from configservice.topology.signer import TopologySigner
from configservice.topology.signing import read_signing_key
from shardproxy.connection import DeadlineConnection, Purpose, open_dedicated_connection
from shardproxy.dedicated_connection import DedicatedConnection
from shardproxy.errors import (
    DeadlineExceeded,
    InstanceMisconfigured,
    InstanceUnavailable,
    OutcomeUnknown,
    ShardProxyError,
    StatementTimeout,
)
from shardproxy.settings import PoolSettings
from viewcounter.cache.macs import CacheValue, build_authenticator
from viewcounter.config import Config
from viewcounter.controlplane.config_service_metrics import MetricsObserver
from viewcounter.controlplane.control_connection import build_control_parameters, last_accepted
from viewcounter.eventlog.errors import EventLogError
from viewcounter.eventlog.registry import connect_event_log

HOST_MAX_LENGTH = 30
REPORTS_SECONDS = 5.0
"""Interval at which reports of shard proxies are read while no primary is suspected. Not longer: a report ages from the
moment at which it was first read, so that one which is repeated later cannot pass for a new one."""


class OperatorConnection:
    """Implements InstanceConnection of the config service, as the role that may operate servers."""

    def __init__(
        self, instance: Instance, settings: PoolSettings, *, user: str, password_ref: str, address: str = ""
    ) -> None:
        as_operator = msgspec.structs.replace(instance, user=user, password_ref=password_ref) if user else instance
        self._connection = DedicatedConnection(as_operator, settings, purpose=Purpose.CONFIG_SERVICE, address=address)

    def fetch(
        self, statement: str, params: Mapping[str, Any] | None = None, *, timeout_seconds: float
    ) -> list[dict[str, Any]]:
        try:
            return self._connection.fetch(statement, params, timeout_seconds=timeout_seconds)
        except ShardProxyError as error:
            raise self._translate(error) from error

    def execute(self, statement: str, *, timeout_seconds: float) -> None:
        try:
            self._connection.execute(statement, timeout_seconds=timeout_seconds)
        except ShardProxyError as error:
            raise self._translate(error) from error

    def fileno(self) -> int | None:
        return self._connection.fileno()

    def close(self) -> None:
        self._connection.close()

    def _translate(self, error: ShardProxyError) -> ConfigServiceError:
        text = str(error)
        if isinstance(error, DeadlineExceeded | StatementTimeout | OutcomeUnknown):
            return InstanceSilent(text)
        if not isinstance(error, InstanceUnavailable):
            return ActionFailed(text)
        if self._connection.connect_timed_out:
            return InstanceSilent(text)
        if isinstance(error.__cause__, InstanceMisconfigured):
            return InstanceUnusable(text)
        return InstanceRefuses(text) if self._connection.ping() else InstanceGone(text)


def format_holder(host: str, pid: int) -> str:
    """The holder name of the lease and of this process's sessions on the control database, unique to this process.

    Host and process id are for people: containers may share both. The name must be unique, since a config service
    ends the sessions of a silent leader by name but never its own: a shared name would keep a frozen leader for ever.
    """
    return f"configservice {host[:HOST_MAX_LENGTH]} {uuid4().hex[:8]} {pid}"


def build_config_service(config: Config) -> ConfigService:
    """Also names this process's sessions on the control database, so that another leader can end them."""
    holder = format_holder(socket.gethostname(), os.getpid())
    connections.settings["default"]["OPTIONS"]["application_name"] = holder
    settings = config.configservice

    def connect(instance: Instance) -> OperatorConnection:
        return OperatorConnection(instance, config.pool, user=settings.user, password_ref=settings.password_ref)

    lease = Lease(
        partial(open_control_connection, config=config, call_seconds=settings.lease_call_seconds),
        holder=holder,
        lease_seconds=settings.lease_seconds,
        call_seconds=settings.lease_call_seconds,
    )
    reader = WitnessReader(build_authenticator(CacheValue.WITNESS, config))
    witness = ShardProxyWitness(
        lambda: reader.read(get_cluster_cache()), host=socket.gethostname(), interval_seconds=REPORTS_SECONDS
    )
    witness.start()
    log = LogWatch(LogReader(config).read, keep_share=settings.log_keep_share)
    log.start()
    return ConfigService(
        lease=lease, connect=connect, settings=settings, observer=MetricsObserver(), log=log, witnesses=[witness]
    )


class LogReader:
    """Reads the event log for a config service, which names the log by id and needs no cluster proxy."""

    def __init__(self, config: Config) -> None:
        self._log_id = ""
        self._log = connect_event_log(config, lambda: self._log_id)

    def read(self, log_id: str, partitions: Sequence[int]) -> LogReading:
        """Not thread-safe. Raises LogUnavailable."""
        self._log_id = log_id
        try:
            usage = self._log.read_usage(partitions)
            return LogReading(self._log.read_floors(partitions), usage.partition_bytes, usage.max_bytes)
        except EventLogError as error:
            raise LogUnavailable(str(error)) from error


def open_control_connection(session_name: str, *, config: Config, call_seconds: float) -> DeadlineConnection:
    settings = config.control_database
    connection = open_dedicated_connection(
        **build_control_parameters(settings, connect_seconds=config.pool.connect_timeout_seconds),
        password=last_accepted.order_passwords(settings.password.get_secret_value()),
        application_name=session_name,
        # A statement that this process has given up must not take the lease or sign a topology later.
        options=f"-c statement_timeout={call_seconds * 1000:.0f}",
    )
    last_accepted.remember(connection)
    return connection


def build_topology_signer(config: Config) -> TopologySigner | None:
    """None without a signing key. Raises BadSigningKey."""
    if config.configservice.signing_key_file is None:
        return None
    call_seconds = config.configservice.action_seconds
    return TopologySigner(
        partial(read_signing_key, config.configservice.signing_key_file),
        open_connection=partial(open_control_connection, config=config, call_seconds=call_seconds),
        cache_url=config.cache.url.get_secret_value(),
        cluster_id=config.cluster.id,
        call_seconds=call_seconds,
    )
