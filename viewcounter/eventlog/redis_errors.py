"""Errors of the log server as errors of the event log."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from viewcounter.eventlog.errors import (
    EntryRefused,
    EventLogError,
    EventLogFull,
    EventLogUnavailable,
    LogBehind,
    LogLost,
    LogRestarted,
)

_NOT_OUR_LOG = re.compile(r"NOTOURLOG (\S+)")


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise _translate(error) from error


def _translate(error: redis.RedisError) -> EventLogError:
    if isinstance(error, redis.exceptions.OutOfMemoryError) or str(error).startswith("MISCONF"):
        return EventLogFull(f"the log server is full: {error}")
    if isinstance(error, redis.exceptions.NoScriptError):
        return LogRestarted("the log server has been started again")
    if str(error).startswith("LOGBEHIND"):
        return LogBehind("the log server holds less than this process has appended")
    if (other := _NOT_OUR_LOG.match(str(error))) is not None:
        return describe_other(None if other[1] == "none" else other[1])
    return EventLogUnavailable(f"{type(error).__name__}: {error}")


def translate_refusal(error: redis.RedisError) -> EventLogError:
    """Error of one partition, from a server that has answered for the others."""
    ours = _translate(error)
    return ours if isinstance(ours, EventLogFull) else EntryRefused(str(ours))


def describe_other(found: str | None) -> LogLost:
    if found is None:
        return LogLost("the log server holds no log: it is new, or has lost its data")
    return LogLost(f"the log server holds another log, {found}")


def check_synced(waited: Any, *, wait_ms: int) -> None:
    """Of the answer to WAITAOF. Raises EventLogUnavailable."""
    if not waited[0]:
        raise EventLogUnavailable(f"the log server did not sync its append-only file within {wait_ms} ms")
