"""Limits of a pool that a test does not wait long for, and deadlines that it should not reach."""

import time
from pathlib import Path

from configservice.topology.password_refs import PasswordRefRules
from shardproxy.query import QueryClass
from shardproxy.settings import DEFAULT_QUERY_SECONDS, PoolSettings

ANY_FILE = PasswordRefRules(Path("/"))
SETTINGS = PoolSettings(
    query_seconds={**DEFAULT_QUERY_SECONDS, QueryClass.POINT: 0.5, QueryClass.FLUSH: 1.0},
    lock_timeout_seconds=0.2,
    wait_seconds=0.5,
    breaker_open_seconds=0.5,
    password_refs=ANY_FILE,
)


def soon(seconds=10.0):
    return time.monotonic() + seconds
