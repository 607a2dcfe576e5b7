"""The event log on Redis Streams: Valkey 9 or Redis 7.2 and later.

One stream a partition, `log:{p}`; the braces are the hash tag that keeps a partition's keys on one node of a
cluster. An entry has two fields, the packed events and how many events the partition had got before it: the
difference between two such numbers is the number of events between, so lag costs the same at any length. No consumer
groups: the applied `position` is on the partition's shard.

An append is one script, so it is in the append-only file as a whole or not at all, followed by WAITAOF: the
server confirms that the file has been synced, whatever its `appendfsync` is, and a server without an
append-only file is an error instead of silent loss.
"""

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from runtime.valkey import build_client
from viewcounter.eventlog import redis_scripts as scripts
from viewcounter.eventlog.codec import HEAD_BYTES, find_received_at, get_event_count
from viewcounter.eventlog.errors import (
    EntryRefused,
    EventLogError,
    EventLogFull,
    EventLogUnavailable,
    LogClockSkewed,
    LogLost,
    LogUnsafe,
    PositionTrimmed,
)
from viewcounter.eventlog.interface import (
    START,
    AppendResult,
    Entry,
    EventLog,
    LogIdentity,
    Position,
    Tails,
    Unread,
    Usage,
)

FIELD = b"e"
_NOT_OUR_LOG = re.compile(r"NOTOURLOG (\S+)")
NO_EVICTION = "noeviction"
ID_KEY = "log-id"
"""Key with the id of the server's log: written once, when the log is created."""
TERM_KEY = "log-term"
"""Key with the term of the positions that the server gives, written together with the id."""
_CLOCK_SKEW = re.compile(r"CLOCKSKEW (-?\d+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FIT_SECONDS = 5.0
"""Interval of the checks of the server's configuration, which no append makes by itself."""


class RedisEventLog(EventLog):
    """Safe to share between threads; each call takes a connection of the pool for its duration."""

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        clock_skew_seconds: float = 60.0,
        get_log_id: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`timeout_seconds` bounds each connect, send and receive; nothing is retried here.

        `clock` gives seconds since 1970 UTC; appends fail if the server's clock differs by more than
        `clock_skew_seconds`. Appends and reads fail on a server that has another log than `get_log_id`; empty: any log
        is accepted.
        """
        self._get_log_id = get_log_id
        self._fit_until = -FIT_SECONDS
        self._clock = clock
        self._clock_skew_ms = int(clock_skew_seconds * 1000)
        self._wait_ms = max(1, int(timeout_seconds * 1000 * 0.8))  # WAITAOF gives up before the socket does
        self._client = build_client(url, timeout_seconds=timeout_seconds)
        # Connections of their own, in use for as long as `wait` blocks; their socket waits longer than the server.
        self._block_seconds = timeout_seconds
        self._blocking_client = build_client(url, timeout_seconds=2 * timeout_seconds)

    def append(self, entries: Mapping[int, bytes]) -> AppendResult:
        partitions = list(entries)
        if not partitions:
            return AppendResult({})
        try:
            self._check_safety()
            replies = self._append(entries)
        except EventLogError as error:
            return AppendResult({}, dict.fromkeys(partitions, error))
        positions: dict[int, Position] = {}
        failed: dict[int, EventLogError] = {}
        for partition, reply in zip(partitions, replies, strict=True):
            if isinstance(reply, redis.RedisError):
                failed[partition] = _translate_refusal(reply)
            else:
                positions[partition] = Position.parse(reply.decode())
        return AppendResult(positions, failed)

    def read_many(self, after: Mapping[int, Position], *, max_entries: int) -> dict[int, list[Entry] | PositionTrimmed]:
        # MULTI: a floor that is read apart from the entries could be older than the trim that removed some of them.
        with _translated(), self._client.pipeline(transaction=True) as pipe:
            pipe.get(ID_KEY)
            for partition, position in after.items():
                pipe.get(_floor_key(partition))
                pipe.xrange(_log_key(partition), min=f"({position}", max="+", count=max_entries)
            log_id, *replies = pipe.execute()
        self._check_id(log_id)
        found = zip(after.items(), replies[::2], replies[1::2], strict=True)
        return {p: _build_entries(p, position, floor, entries) for (p, position), floor, entries in found}

    def wait(self, after: Mapping[int, Position], *, timeout_seconds: float) -> bool:
        deadline_at = time.monotonic() + timeout_seconds
        if not after:  # an error on the server
            time.sleep(timeout_seconds)
            return False
        ends: dict[Any, Any] = {_log_key(partition): str(position) for partition, position in after.items()}
        while True:
            block_seconds = min(deadline_at - time.monotonic(), self._block_seconds)
            with _translated():
                # BLOCK 0 would last forever. COUNT 1: the entry that ends the wait is sent, and no other of its stream.
                found = self._blocking_client.xread(ends, count=1, block=max(1, math.ceil(block_seconds * 1000)))
            if found:
                return True
            if time.monotonic() >= deadline_at:
                return False

    def barrier(self, partitions: Iterable[int]) -> dict[int, Position]:
        # One server carries out one call after the other: an acknowledged entry is in every later reading.
        return self.read_tails(partitions).positions

    def read_tails(self, partitions: Iterable[int]) -> Tails:
        wanted = list(partitions)
        with _translated(), self._client.pipeline(transaction=True) as pipe:
            pipe.get(ID_KEY)
            pipe.time()
            for partition in wanted:
                pipe.eval(scripts.READ_TAIL, 1, _log_key(partition))
            log_id, (seconds, microseconds), *tails = pipe.execute()
        self._check_id(log_id)
        read_at = _EPOCH + timedelta(seconds=seconds, microseconds=microseconds)
        positions = (Position.parse(tail.decode()) for tail in tails)
        return Tails(read_at, dict(zip(wanted, positions, strict=True)))

    def read_unread(self, positions: Mapping[int, Position]) -> Unread:
        with _translated(), self._client.pipeline(transaction=True) as pipe:
            pipe.get(ID_KEY)
            pipe.time()
            for partition, after in positions.items():
                pipe.eval(scripts.READ_UNREAD, 2, _log_key(partition), _count_key(partition), f"({after}", HEAD_BYTES)
            log_id, (seconds, microseconds), *replies = pipe.execute()
        self._check_id(log_id)
        found = dict(zip(positions, replies, strict=True))
        return Unread(
            read_at=_EPOCH + timedelta(seconds=seconds, microseconds=microseconds),
            events={partition: count for partition, (count, _, _) in found.items()},
            bytes={partition: size for partition, (_, size, _) in found.items()},
            oldest={p: at for p, (_, _, head) in found.items() if head and (at := find_received_at(head))},
        )

    def read_floors(self, partitions: Iterable[int]) -> dict[int, Position]:
        wanted = list(partitions)
        with _translated(), self._client.pipeline(transaction=True) as pipe:
            pipe.get(ID_KEY)
            for partition in wanted:
                pipe.get(_floor_key(partition))
            log_id, *floors = pipe.execute()
        self._check_id(log_id)
        found = zip(wanted, floors, strict=True)
        return {p: START if floor is None else Position.parse(floor.decode()) for p, floor in found}

    def read_usage(self, partitions: Iterable[int]) -> Usage:
        wanted = list(partitions)
        with _translated(), self._client.pipeline(transaction=False) as pipe:
            pipe.get(ID_KEY)
            pipe.info("memory")
            for partition in wanted:
                pipe.memory_usage(_log_key(partition))
            log_id, memory, *sizes = pipe.execute()
        self._check_id(log_id)
        return Usage(
            {partition: size or 0 for partition, size in zip(wanted, sizes, strict=True)},
            used_bytes=memory["used_memory"],
            max_bytes=memory["maxmemory"] or None,
        )

    def trim(self, partition: int, *, through: Position) -> int:
        if through == START:
            return 0
        next_id = f"{through.term}-{through.seq + 1}"
        keys = (_log_key(partition), _floor_key(partition), ID_KEY)
        with _translated():
            return int(self._eval(scripts.TRIM, keys, (str(through), next_id, self._get_log_id())))

    def raise_tail(self, partition: int, *, to: Position) -> int | None:
        keys = (_log_key(partition), _floor_key(partition))
        with _translated():
            moved = int(self._eval(scripts.RAISE_TAIL, keys, (str(to), str(to.term))))
        return None if moved < 0 else moved

    def raise_floor(self, partition: int, *, to: Position) -> bool:
        with _translated():
            return bool(self._eval(scripts.RAISE_FLOOR, (_floor_key(partition),), (str(to),)))

    def read_identity(self) -> LogIdentity | None:
        with _translated():
            found: Any = self._client.mget(ID_KEY, TERM_KEY)
        log_id, term = found
        return None if log_id is None else LogIdentity(log_id.decode(), int(term or 0))

    def open(self, identity: LogIdentity) -> None:
        pipe: Any  # redis-py leaves execute_command untyped
        with _translated(), self._client.pipeline(transaction=False) as pipe:
            pipe.mset({ID_KEY: identity.id, TERM_KEY: identity.term})
            pipe.execute_command("WAITAOF", 1, 0, self._wait_ms)
            _, waited = pipe.execute()
        self._check_synced(waited)

    def check(self) -> None:
        self._fit_until = -FIT_SECONDS
        self._check_safety()
        with _translated(), self._client.pipeline(transaction=False) as pipe:
            pipe.get(ID_KEY)
            pipe.time()
            log_id, (seconds, microseconds) = pipe.execute()
        self._check_id(log_id)
        ahead_ms = int(seconds * 1000 + microseconds / 1000 - self._clock() * 1000)
        if abs(ahead_ms) > self._clock_skew_ms:
            raise _describe_skew(ahead_ms)

    def close(self) -> None:
        self._client.close()
        self._blocking_client.close()

    def _append(self, entries: Mapping[int, bytes]) -> list[Any]:
        """The replies of the appends, in the order of `entries`."""
        keys: list[str] = [ID_KEY, TERM_KEY]
        arguments: list[bytes | str | int] = [self._get_log_id(), int(self._clock() * 1000), self._clock_skew_ms]
        for partition, payload in entries.items():
            keys += (_log_key(partition), _count_key(partition))
            arguments += (payload, get_event_count(payload))
        pipe: Any  # redis-py leaves execute_command untyped
        with _translated(), self._client.pipeline(transaction=False) as pipe:
            pipe.execute_command("EVAL", scripts.APPEND, len(keys), *keys, *arguments)
            pipe.execute_command("WAITAOF", 1, 0, self._wait_ms)
            added, waited = pipe.execute(raise_on_error=False)
            for reply in (added, waited):
                if isinstance(reply, redis.RedisError):
                    raise reply
        self._check_synced(waited)
        return list(added)

    def _check_synced(self, waited: Any) -> None:
        if not waited[0]:
            raise EventLogUnavailable(f"the log server did not sync its append-only file within {self._wait_ms} ms")

    def _check_safety(self) -> None:
        """Raises LogUnsafe. Queries the server every FIT_SECONDS only: its configuration is changed by hand."""
        now = time.monotonic()
        if now < self._fit_until:
            return
        with _translated():
            info: Any = self._client.info("persistence", "memory")
        if not info.get("aof_enabled"):
            raise LogUnsafe("the log server has no append-only file: nothing on it is durable")
        if info.get("maxmemory_policy") != NO_EVICTION:
            policy = info.get("maxmemory_policy")
            raise LogUnsafe(f"the log server evicts keys when its memory is full: its maxmemory-policy is {policy}")
        self._fit_until = now + FIT_SECONDS

    def _check_id(self, found: bytes | None) -> None:
        expected = self._get_log_id()
        if expected and (found is None or found.decode() != expected):
            raise _describe_other(None if found is None else found.decode())

    def _eval(self, script: str, keys: tuple[str, ...], arguments: tuple[str, ...]) -> Any:
        return self._client.eval(script, len(keys), *keys, *arguments)


def _build_entries(
    partition: int, after: Position, floor: bytes | None, entries: list[tuple[bytes, dict[bytes, bytes]]]
) -> list[Entry] | PositionTrimmed:
    if floor is not None and (trimmed := Position.parse(floor.decode())) > after:
        return PositionTrimmed(f"partition {partition} is at {after}, its log is trimmed through {trimmed}")
    return [Entry(Position.parse(key.decode()), fields[FIELD]) for key, fields in entries]


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
        return EventLogFull(f"the log server is full: {error}")
    if (skew := _CLOCK_SKEW.match(str(error))) is not None:
        return _describe_skew(int(skew[1]))
    if (other := _NOT_OUR_LOG.match(str(error))) is not None:
        return _describe_other(None if other[1] == "none" else other[1])
    return EventLogUnavailable(f"{type(error).__name__}: {error}")


def _translate_refusal(error: redis.RedisError) -> EventLogError:
    """Error of one partition, from a server that has answered for the others."""
    ours = _translate(error)
    return ours if isinstance(ours, EventLogFull) else EntryRefused(str(ours))


def _describe_skew(ahead_ms: int) -> LogClockSkewed:
    direction = "ahead of" if ahead_ms > 0 else "behind"
    return LogClockSkewed(f"the log server's clock is {abs(ahead_ms) / 1000:.0f} s {direction} this gateway's")


def _describe_other(found: str | None) -> LogLost:
    if found is None:
        return LogLost("the log server holds no log: it is new, or has lost its data")
    return LogLost(f"the log server holds another log, {found}")
