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
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import redis

from runtime.valkey import build_client
from viewcounter.eventlog import redis_scripts as scripts
from viewcounter.eventlog.codec import HEAD_BYTES, find_received_at, get_event_count
from viewcounter.eventlog.errors import (
    EventLogError,
    LogBehind,
    LogRestarted,
    LogUnfit,
    LogUnsafe,
    PositionTrimmed,
)
from viewcounter.eventlog.interface import (
    START,
    AppendResult,
    ConfirmLog,
    Entry,
    EventLog,
    LogIdentity,
    LogSession,
    Position,
    Tails,
    Unread,
    Usage,
)
from viewcounter.eventlog.redis_errors import check_synced, describe_other, translate_refusal, translated
from viewcounter.eventlog.redis_keys import (
    FIELD,
    FIRST_TERM_KEY,
    ID_KEY,
    LOST_FIELD,
    NO_IDENTITY,
    TERM_KEY,
    build_identity,
    get_count_key,
    get_floor_key,
    get_log_key,
)
from viewcounter.eventlog.redis_run import ServerRun

NO_EVICTION = "noeviction"
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
        get_log_id: Callable[[], str] = lambda: "",
        confirm: ConfirmLog | None = None,
    ) -> None:
        """`timeout_seconds` bounds each connect, send and receive; nothing is retried here.

        Appends and reads fail on a server that has another log than `get_log_id`; empty: any log is accepted. `confirm`
        is called before the first append of each session.
        """
        self._get_log_id = get_log_id
        self._confirm = confirm
        self._fit_until = -FIT_SECONDS
        self._run: ServerRun | None = None
        self._session: LogSession | None = None
        self._confirmed: LogSession | None = None
        # Events of each partition through this object's last append, in a term of the log.
        self._known_counts: dict[int, int] = {}
        self._counted_in: LogIdentity | None = None
        self._is_behind = False
        # Of two threads that find the server behind, one begins a term, and the other goes on in it.
        self._confirming = threading.Lock()
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
            replies = self._append_in_session(entries)
        except EventLogError as error:
            return AppendResult({}, dict.fromkeys(partitions, error))
        positions: dict[int, Position] = {}
        failed: dict[int, EventLogError] = {}
        for partition, reply, count in zip(partitions, replies[::2], replies[1::2], strict=True):
            if isinstance(reply, redis.RedisError):
                failed[partition] = translate_refusal(reply)
            else:
                positions[partition] = Position.parse(reply.decode())
                self._known_counts[partition] = count
        return AppendResult(positions, failed)

    @property
    def session(self) -> LogSession:
        if self._session is None:
            with translated():
                self._run = ServerRun.load(self._client)
            identity = self.read_identity()
            self._check_id(None if identity is None else identity.id.encode())
            if self._run is None:
                raise LogRestarted("the log server has just been started again")
            self._session = LogSession(identity or NO_IDENTITY, self._run.run_id)
        return self._session

    def _check_confirmed(self) -> None:
        if self._is_confirmed():
            return
        with self._confirming:
            if not self._is_confirmed():
                self._begin_session()

    def _is_confirmed(self) -> bool:
        is_due = self._is_behind or (self._confirm is not None and self._confirm.is_due())
        return self.session == self._confirmed and not is_due

    def _begin_session(self) -> None:
        if self._confirm is not None:
            is_behind = self._is_behind and self.session.identity == self._counted_in
            self._confirm(self, is_behind=is_behind)
        if self._counted_in != self.session.identity:  # what a later term lacks of this one is reported as lost
            self._known_counts.clear()
            self._counted_in = self.session.identity
            self._is_behind = False
        self._confirmed = self.session

    def _end_session(self) -> None:
        self._session = None

    def read_many(self, after: Mapping[int, Position], *, max_entries: int) -> dict[int, list[Entry] | PositionTrimmed]:
        # MULTI: a floor that is read apart from the entries could be older than the trim that removed some of them.
        sha = self._get_run_sha()
        with translated(), self._client.pipeline(transaction=True) as pipe:
            pipe.mget(ID_KEY, TERM_KEY)
            pipe.script_exists(sha)
            for partition, position in after.items():
                pipe.get(get_floor_key(partition))
                pipe.xrange(get_log_key(partition), min=f"({position}", max="+", count=max_entries)
            identity, is_same_run, *replies = pipe.execute()
        self._check_session(identity, is_same_run)
        found = zip(after.items(), replies[::2], replies[1::2], strict=True)
        return {p: _build_entries(p, position, floor, entries) for (p, position), floor, entries in found}

    def wait(self, after: Mapping[int, Position], *, timeout_seconds: float) -> bool:
        deadline_at = time.monotonic() + timeout_seconds
        if not after:  # an error on the server
            time.sleep(timeout_seconds)
            return False
        ends: dict[Any, Any] = {get_log_key(partition): str(position) for partition, position in after.items()}
        while True:
            block_seconds = min(deadline_at - time.monotonic(), self._block_seconds)
            with translated():
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
        wanted, sha = list(partitions), self._get_run_sha()
        with translated(), self._client.pipeline(transaction=True) as pipe:
            pipe.mget(ID_KEY, TERM_KEY)
            pipe.script_exists(sha)
            pipe.time()
            for partition in wanted:
                pipe.eval(scripts.READ_TAIL, 1, get_log_key(partition))
            identity, is_same_run, (seconds, microseconds), *tails = pipe.execute()
        self._check_session(identity, is_same_run)
        read_at = _EPOCH + timedelta(seconds=seconds, microseconds=microseconds)
        positions = (Position.parse(tail.decode()) for tail in tails)
        return Tails(read_at, dict(zip(wanted, positions, strict=True)))

    def read_unread(self, positions: Mapping[int, Position]) -> Unread:
        with translated(), self._client.pipeline(transaction=True) as pipe:
            pipe.get(ID_KEY)
            pipe.time()
            for partition, after in positions.items():
                pipe.eval(
                    scripts.READ_UNREAD, 2, get_log_key(partition), get_count_key(partition), f"({after}", HEAD_BYTES
                )
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
        with translated(), self._client.pipeline(transaction=True) as pipe:
            pipe.get(ID_KEY)
            for partition in wanted:
                pipe.get(get_floor_key(partition))
            log_id, *floors = pipe.execute()
        self._check_id(log_id)
        found = zip(wanted, floors, strict=True)
        return {p: START if floor is None else Position.parse(floor.decode()) for p, floor in found}

    def read_usage(self, partitions: Iterable[int]) -> Usage:
        wanted = list(partitions)
        with translated(), self._client.pipeline(transaction=False) as pipe:
            pipe.get(ID_KEY)
            pipe.info("memory")
            for partition in wanted:
                pipe.memory_usage(get_log_key(partition))
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
        keys = (get_log_key(partition), get_floor_key(partition), ID_KEY)
        with translated():
            return int(self._eval(scripts.TRIM, keys, (str(through), next_id, self._get_log_id())))

    def read_identity(self) -> LogIdentity | None:
        with translated():
            found: Any = self._client.mget(ID_KEY, TERM_KEY)
        return None if found[0] is None else build_identity(found)

    def open(
        self,
        identity: LogIdentity,
        *,
        replaces: LogIdentity | None = None,
        lost: Mapping[int, Position] = MappingProxyType({}),
    ) -> bool:
        keys = [ID_KEY, TERM_KEY, FIRST_TERM_KEY]
        for partition in lost:
            keys += (get_log_key(partition), get_count_key(partition))
        expected = ("1", replaces.id, replaces.term) if replaces else ("0", "", 0)
        arguments = (identity.id, identity.term, *expected, *map(str, lost.values()))
        pipe: Any  # redis-py leaves execute_command untyped
        with translated(), self._client.pipeline(transaction=False) as pipe:
            pipe.eval(scripts.OPEN, len(keys), *keys, *arguments)
            pipe.execute_command("WAITAOF", 1, 0, self._wait_ms)
            is_open, waited = pipe.execute()
        check_synced(waited, wait_ms=self._wait_ms)
        self._end_session()
        return bool(is_open)

    def check(self) -> None:
        self._fit_until = -FIT_SECONDS
        self._check_safety()
        with translated(), self._client.pipeline(transaction=False) as pipe:
            pipe.get(ID_KEY)
            [log_id] = pipe.execute()
        self._check_id(log_id)
        try:
            self._check_confirmed()
        except LogUnfit:
            raise
        except EventLogError:  # a comparison that is not possible now is made again before an append
            return

    def close(self) -> None:
        self._client.close()
        self._blocking_client.close()

    def _append_in_session(self, entries: Mapping[int, bytes]) -> list[Any]:
        """Begins a session for a server that was started again, or is found to have older data."""
        self._check_confirmed()
        for _ in (LogRestarted, LogBehind):  # a server may be both
            try:
                return self._append(entries)
            except (LogRestarted, LogBehind):
                self._check_confirmed()
        return self._append(entries)

    def _append(self, entries: Mapping[int, bytes]) -> list[Any]:
        """The replies of the appends, in the order of `entries`."""
        keys: list[str] = [ID_KEY, TERM_KEY]
        arguments: list[bytes | str | int] = [self._get_log_id()]
        for partition, payload in entries.items():
            keys += (get_log_key(partition), get_count_key(partition))
            arguments += (payload, get_event_count(payload), self._known_counts.get(partition, 0))
        sha = self._get_run_sha()
        pipe: Any  # redis-py leaves execute_command untyped
        with translated(), self._client.pipeline(transaction=False) as pipe:
            pipe.execute_command("EVALSHA", sha, len(keys), *keys, *arguments)
            pipe.execute_command("WAITAOF", 1, 0, self._wait_ms)
            added, waited = pipe.execute(raise_on_error=False)
            if isinstance(added, redis.exceptions.NoScriptError):
                self._end_session()
            if isinstance(added, redis.ResponseError) and str(added).startswith("LOGBEHIND"):
                self._is_behind = True
                self._end_session()
            for reply in (added, waited):
                if isinstance(reply, redis.RedisError):
                    raise reply
        check_synced(waited, wait_ms=self._wait_ms)
        return list(added)

    def _check_safety(self) -> None:
        """Raises LogUnsafe. Queries the server every FIT_SECONDS only: its configuration is changed by hand."""
        now = time.monotonic()
        if now < self._fit_until:
            return
        with translated():
            info: Any = self._client.info("persistence", "memory")
        if not info.get("aof_enabled"):
            raise LogUnsafe("the log server has no append-only file: nothing on it is durable")
        if info.get("maxmemory_policy") != NO_EVICTION:
            policy = info.get("maxmemory_policy")
            raise LogUnsafe(f"the log server evicts keys when its memory is full: its maxmemory-policy is {policy}")
        self._fit_until = now + FIT_SECONDS

    def _get_run_sha(self) -> str:
        _ = self.session
        assert self._run is not None  # noqa: S101
        return self._run.sha

    def _check_session(self, identity: list[bytes | None], is_same_run: list[bool]) -> None:
        """Another process may have created the log, or begun a term of it."""
        log_id, _ = identity
        self._check_id(log_id)
        if not is_same_run[0] or build_identity(identity) != self.session.identity:
            self._end_session()
            raise LogRestarted("the log server has been started again, or another term of the log has begun")

    def _check_id(self, found: bytes | None) -> None:
        expected = self._get_log_id()
        if expected and (found is None or found.decode() != expected):
            raise describe_other(None if found is None else found.decode())

    def _eval(self, script: str, keys: tuple[str, ...], arguments: tuple[str, ...]) -> Any:
        return self._client.eval(script, len(keys), *keys, *arguments)


def _build_entries(
    partition: int, after: Position, floor: bytes | None, entries: list[tuple[bytes, dict[bytes, bytes]]]
) -> list[Entry] | PositionTrimmed:
    if floor is not None and (trimmed := Position.parse(floor.decode())) > after:
        return PositionTrimmed(f"partition {partition} is at {after}, its log is trimmed through {trimmed}")
    return [Entry(Position.parse(key.decode()), fields[FIELD], LOST_FIELD in fields) for key, fields in entries]
