"""The event log on Redis Streams: Valkey 9 or Redis 7.2 and later.

One stream a partition, `log:{p}`; the braces are the hash tag that keeps a partition's keys on one node of a
cluster. An entry has two fields, the packed events and how many events the partition had got before it: the
difference between two such numbers says how many lie between, so lag costs the same at any length. No consumer
groups: what has been applied is the `position` on the partition's shard.

An append is one script, so it is in the append-only file as a whole or not at all, followed by WAITAOF: the
server itself says that the file has been synced, whatever its `appendfsync` is, and a server without an
append-only file is an error instead of a log that forgets.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from viewcounter.eventlog.codec import get_event_count
from viewcounter.eventlog.errors import EventLogError, EventLogFull, LogClockSkewed, PositionTrimmed
from viewcounter.eventlog.interface import START, AppendResult, Entry, Position, Tails, Unread

FIELD = b"e"
_CLOCK_SKEW = re.compile(r"CLOCKSKEW (-?\d+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# One step, so that numbers ascend as positions do, whichever gateway appends. Of all partitions at once: a command each
# costs the gateway more than the events in it. The clocks are compared here, before anything is written: XADD takes the
# positions from this one.
_APPEND = """#!lua
local time = redis.call('TIME')
local ahead_ms = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[1]
if math.abs(ahead_ms) > tonumber(ARGV[2]) then return redis.error_reply(string.format('CLOCKSKEW %d', ahead_ms)) end
local all = {}
for i = 1, #KEYS, 2 do
    local payload, count = ARGV[i + 2], ARGV[i + 3]
    local before = redis.call('INCRBY', KEYS[i + 1], count) - count
    local added = redis.pcall('XADD', KEYS[i], '*', 'e', payload, 'b', before)
    if type(added) == 'table' then redis.call('DECRBY', KEYS[i + 1], count) end
    all[#all + 1] = added
end
return all
"""

_READ_UNREAD = """#!lua flags=no-writes
local first = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 1)
if #first == 0 then return {0, false} end
local fields = first[1][2]
return {redis.call('GET', KEYS[2]) - fields[4], first[1][1]}
"""

# XINFO carries the first and last entry with it, whole payloads; a script sends only the id back.
_READ_TAIL = """#!lua flags=no-writes
if redis.call('EXISTS', KEYS[1]) == 0 then return '0-0' end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
end
return redis.error_reply('XINFO STREAM without last-generated-id')
"""

# The floor is the last entry that is about to go. It is read and written in one step with the trim, so it only
# grows. A trim must work when memory is full: it is what makes room.
_TRIM = """#!lua flags=allow-oom
local last = redis.call('XREVRANGE', KEYS[1], ARGV[1], '-', 'COUNT', 1)
if #last == 0 then return 0 end
redis.call('SET', KEYS[2], last[1][1])
return redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[2])
"""

# XSETID cannot create a stream and would also move an end backwards; XADD does the one and refuses the other.
# Entries up to the new end are gone: the floor says so to a reader that has not applied them.
_RAISE_TAIL = """#!lua flags=allow-oom
local added = redis.pcall('XADD', KEYS[1], ARGV[1], 'e', '')
if type(added) == 'table' and added.err then
    if string.find(added.err, 'equal or smaller') or string.find(added.err, 'greater than 0-0', 1, true) then
        return 0
    end
    return added
end
redis.call('XDEL', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[1])
return 1
"""


class RedisEventLog:
    """Safe to share between threads; each call takes a connection of the pool for its duration."""

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        clock_skew_seconds: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`timeout_seconds` bounds each connect, send and receive; nothing is retried here.

        `clock` gives seconds since 1970 UTC; a server whose clock is more than `clock_skew_seconds` away takes nothing.
        """
        self._clock = clock
        self._clock_skew_ms = int(clock_skew_seconds * 1000)
        self._wait_ms = max(1, int(timeout_seconds * 1000 * 0.8))  # WAITAOF gives up before the socket does
        self._client: redis.Redis = redis.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    def append(self, entries: Mapping[int, bytes]) -> AppendResult:
        partitions = list(entries)
        if not partitions:
            return AppendResult({})
        try:
            replies = self._append(entries)
        except EventLogError as error:
            return AppendResult({}, dict.fromkeys(partitions, error))
        positions: dict[int, Position] = {}
        failed: dict[int, EventLogError] = {}
        for partition, reply in zip(partitions, replies, strict=True):
            if isinstance(reply, redis.RedisError):
                failed[partition] = _translate(reply)
            else:
                positions[partition] = Position.parse(reply.decode())
        return AppendResult(positions, failed)

    def read(self, partition: int, *, after: Position, max_entries: int) -> list[Entry]:
        with _translated(), self._client.pipeline(transaction=True) as pipe:
            pipe.get(_floor_key(partition))
            pipe.xrange(_log_key(partition), min=f"({after}", max="+", count=max_entries)
            floor, entries = pipe.execute()
        if floor is not None and (trimmed := Position.parse(floor.decode())) > after:
            raise PositionTrimmed(f"partition {partition} is at {after}, its log is trimmed through {trimmed}")
        return [Entry(Position.parse(key.decode()), fields[FIELD]) for key, fields in entries]

    def read_tails(self, partitions: Iterable[int]) -> Tails:
        wanted = list(partitions)
        with _translated(), self._client.pipeline(transaction=True) as pipe:
            pipe.time()
            for partition in wanted:
                pipe.eval(_READ_TAIL, 1, _log_key(partition))
            (seconds, microseconds), *tails = pipe.execute()
        read_at = _EPOCH + timedelta(seconds=seconds, microseconds=microseconds)
        positions = (Position.parse(tail.decode()) for tail in tails)
        return Tails(read_at, dict(zip(wanted, positions, strict=True)))

    def read_unread(self, positions: Mapping[int, Position]) -> Unread:
        with _translated(), self._client.pipeline(transaction=True) as pipe:
            pipe.time()
            for partition, after in positions.items():
                pipe.eval(_READ_UNREAD, 2, _log_key(partition), _count_key(partition), f"({after}")
            (seconds, microseconds), *replies = pipe.execute()
        found = dict(zip(positions, replies, strict=True))
        return Unread(
            read_at=_EPOCH + timedelta(seconds=seconds, microseconds=microseconds),
            events={partition: count for partition, (count, _) in found.items()},
            oldest={p: Position.parse(first.decode()) for p, (_, first) in found.items() if first is not None},
        )

    def trim(self, partition: int, *, through: Position) -> int:
        if through == START:
            return 0
        next_id = f"{through.ms}-{through.seq + 1}"
        with _translated():
            return int(self._eval(_TRIM, (_log_key(partition), _floor_key(partition)), (str(through), next_id)))

    def raise_tail(self, partition: int, *, to: Position) -> bool:
        with _translated():
            return bool(self._eval(_RAISE_TAIL, (_log_key(partition), _floor_key(partition)), (str(to),)))

    def check(self) -> None:
        with _translated():
            persistence: Any = self._client.info("persistence")
            seconds, microseconds = self._client.time()
        if not persistence.get("aof_enabled"):
            raise EventLogError("the log server keeps no append-only file: nothing on it is durable")
        ahead_ms = int(seconds * 1000 + microseconds / 1000 - self._clock() * 1000)
        if abs(ahead_ms) > self._clock_skew_ms:
            raise _describe_skew(ahead_ms)

    def close(self) -> None:
        self._client.close()

    def _append(self, entries: Mapping[int, bytes]) -> list[Any]:
        """The replies of the appends, in the order of `entries`."""
        keys: list[str] = []
        arguments: list[bytes | int] = [int(self._clock() * 1000), self._clock_skew_ms]
        for partition, payload in entries.items():
            keys += (_log_key(partition), _count_key(partition))
            arguments += (payload, get_event_count(payload))
        pipe: Any  # redis-py leaves execute_command untyped
        with _translated(), self._client.pipeline(transaction=False) as pipe:
            pipe.execute_command("EVAL", _APPEND, len(keys), *keys, *arguments)
            pipe.execute_command("WAITAOF", 1, 0, self._wait_ms)
            added, waited = pipe.execute(raise_on_error=False)
            for reply in (added, waited):
                if isinstance(reply, redis.RedisError):
                    raise reply
        if not waited[0]:
            raise EventLogError(f"the log server did not sync its append-only file within {self._wait_ms} ms")
        return list(added)

    def _eval(self, script: str, keys: tuple[str, ...], arguments: tuple[str, ...]) -> Any:
        return self._client.eval(script, len(keys), *keys, *arguments)


def _log_key(partition: int) -> str:
    return f"log:{{{partition}}}"


def _count_key(partition: int) -> str:
    """Holds the number of events ever appended."""
    return f"log-count:{{{partition}}}"


def _floor_key(partition: int) -> str:
    """Holds the position through which entries have been trimmed or lost."""
    return f"log-floor:{{{partition}}}"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise _translate(error) from error


def _translate(error: redis.RedisError) -> EventLogError:
    if isinstance(error, redis.exceptions.OutOfMemoryError) or str(error).startswith("MISCONF"):
        return EventLogFull(f"the log server takes no more: {error}")
    if (skew := _CLOCK_SKEW.match(str(error))) is not None:
        return _describe_skew(int(skew[1]))
    return EventLogError(f"{type(error).__name__}: {error}")


def _describe_skew(ahead_ms: int) -> LogClockSkewed:
    direction = "ahead of" if ahead_ms > 0 else "behind"
    return LogClockSkewed(f"the log server's clock is {abs(ahead_ms) / 1000:.0f} s {direction} this gateway's")
