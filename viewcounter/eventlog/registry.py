"""The event log of this process."""

import os
from collections.abc import Callable
from functools import cache

from clusterproxy.errors import NoTopology
from viewcounter.cache.macs import CacheValue, build_authenticator
from viewcounter.cluster import get_cluster, get_cluster_id
from viewcounter.config import Config, get_config
from viewcounter.eventlog.confirmation import LogConfirmation
from viewcounter.eventlog.interface import EventLog
from viewcounter.eventlog.lag_notice import SharedLagBoard
from viewcounter.eventlog.redis_streams import RedisEventLog


def get_event_log() -> EventLog:
    """One client a process: a forked child gets its own, never its parent's sockets."""
    config = get_config()
    return _connect(
        os.getpid(),
        config.log.url.get_secret_value(),
        config.log.timeout_seconds,
        config.log.clock_skew_seconds,
    )


def confirm_event_log(log: EventLog) -> None:
    """Compares the log with the shards, and begins a term of it if it has lost entries. Raises EventLogError."""
    config = get_config()
    _build_confirmation(config.log.timeout_seconds, config.log.clock_skew_seconds)(log)


def connect_event_log(config: Config, get_log_id: Callable[[], str]) -> EventLog:
    """A separate client, for a process that has the id of the cluster's log from elsewhere. Connects on first use."""
    return RedisEventLog(
        config.log.url.get_secret_value(),
        timeout_seconds=config.log.timeout_seconds,
        get_log_id=get_log_id,
    )


def get_log_id() -> str:
    """Id of the cluster's log in this process's topology; empty without one."""
    try:
        return get_cluster().topology.log_id
    except NoTopology:
        return ""


@cache
def _connect(_process_id: int, url: str, timeout_seconds: float, clock_skew_seconds: float) -> EventLog:
    confirm = _build_confirmation(timeout_seconds, clock_skew_seconds)
    return RedisEventLog(url, timeout_seconds=timeout_seconds, get_log_id=get_log_id, confirm=confirm)


def _build_confirmation(seconds: float, clock_skew_seconds: float) -> LogConfirmation:
    return LogConfirmation(get_cluster, seconds=seconds, clock_skew_seconds=clock_skew_seconds)


_FAILED_MEASUREMENTS = 3
"""Measurements of the lag that may fail before the last notice expires."""


def build_lag_board(config: Config) -> SharedLagBoard:
    """Connects on first use."""
    return SharedLagBoard(
        config.cache.url.get_secret_value(),
        get_cluster_id=get_cluster_id,
        authenticator=build_authenticator(CacheValue.LAG, config),
        timeout_seconds=config.cache.timeout_seconds,
        keep_seconds=_FAILED_MEASUREMENTS * config.log.lag_interval_seconds,
    )


def get_lag_board() -> SharedLagBoard:
    """One a process, as `get_event_log`."""
    return _build_lag_board(os.getpid())


@cache
def _build_lag_board(_process_id: int) -> SharedLagBoard:
    return build_lag_board(get_config())
