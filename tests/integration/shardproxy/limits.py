"""Limits of a pool that a test does not wait long for, and deadlines that it should not reach."""

import time
from pathlib import Path

from configservice.topology.password_refs import PasswordRefRules
from shardproxy.settings import PoolSettings, QueryBudgets

ANY_FILE = PasswordRefRules(Path("/"))
SETTINGS = PoolSettings(
    query=QueryBudgets(point_seconds=0.5, flush_seconds=1.0),
    lock_timeout_seconds=0.2,
    wait_seconds=0.5,
    breaker_open_seconds=0.5,
    password_refs=ANY_FILE,
)


def soon(seconds=10.0):
    return time.monotonic() + seconds
