"""The event log of this process."""

import os
from functools import cache

from viewcounter.config import get_config
from viewcounter.eventlog.interface import EventLog
from viewcounter.eventlog.redis_streams import RedisEventLog


def get_event_log() -> EventLog:
    """One client a process: a forked child gets its own, never its parent's sockets."""
    config = get_config()
    return _connect(os.getpid(), config.log_url.get_secret_value(), config.log_timeout_seconds)


@cache
def _connect(_process_id: int, url: str, timeout_seconds: float) -> EventLog:
    return RedisEventLog(url, timeout_seconds=timeout_seconds)
