"""The event log of this process."""

import os
from functools import cache

from viewcounter.config import get_config
from viewcounter.eventlog.interface import EventLog
from viewcounter.eventlog.redis_streams import RedisEventLog


def get_event_log() -> EventLog:
    """One client a process: a forked child gets its own, never its parent's sockets."""
    return _connect(os.getpid())


@cache
def _connect(_process_id: int) -> EventLog:
    config = get_config()
    return RedisEventLog(config.log_url.get_secret_value(), timeout_seconds=config.log_timeout_seconds)
