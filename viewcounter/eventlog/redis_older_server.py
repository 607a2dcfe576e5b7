"""A log server that the cluster has given up, and that has come back: it is fenced, then read.

A fenced server has no identity, so no gateway appends to it any more: what is read after the fence is all that it will
ever hold. The identity is kept under another key, so that a salvage can be repeated.
"""

from collections.abc import Iterable
from typing import Any

from runtime.valkey import build_client
from viewcounter.eventlog.interface import START, Entry, LogIdentity, Position
from viewcounter.eventlog.redis_errors import check_synced, translated
from viewcounter.eventlog.redis_keys import (
    FIELD,
    FIRST_TERM_KEY,
    ID_KEY,
    LOST_FIELD,
    TERM_KEY,
    build_identity,
    get_floor_key,
    get_log_key,
)

FENCED_ID_KEY, FENCED_TERM_KEY = "log-fenced-id", "log-fenced-term"

_FENCE = """#!lua flags=allow-oom
local id = redis.call('GET', KEYS[1])
if not id then return 0 end
redis.call('MSET', KEYS[3], id, KEYS[4], redis.call('GET', KEYS[2]) or 0)
redis.call('DEL', KEYS[1], KEYS[2])
return 1
"""


class OlderServer:
    """Each call is bounded by `timeout_seconds` and raises EventLogError."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._client = build_client(url, timeout_seconds=timeout_seconds)
        self._wait_ms = max(1, int(timeout_seconds * 1000 * 0.8))

    def read_run(self) -> str:
        """Another one for each start of a server."""
        with translated():
            info: Any = self._client.info("server")
        return str(info["run_id"])

    def find_identity(self) -> LogIdentity | None:
        """Of the log that it has, or had before it was fenced."""
        with translated():
            found: Any = self._client.mget(ID_KEY, TERM_KEY, FENCED_ID_KEY, FENCED_TERM_KEY)
        identity = build_identity(found[:2] if found[0] is not None else found[2:])
        return identity if identity.id else None

    def fence(self) -> None:
        """Durable when this returns. Safe to repeat."""
        keys = (ID_KEY, TERM_KEY, FENCED_ID_KEY, FENCED_TERM_KEY)
        pipe: Any  # redis-py leaves execute_command untyped
        with translated(), self._client.pipeline(transaction=False) as pipe:
            pipe.eval(_FENCE, len(keys), *keys)
            pipe.execute_command("WAITAOF", 1, 0, self._wait_ms)
            _, waited = pipe.execute()
        check_synced(waited, wait_ms=self._wait_ms)

    def read_first_term(self) -> int:
        """It never had entries of an earlier term. Of a log of an earlier release: the last term."""
        with translated():
            found: Any = self._client.get(FIRST_TERM_KEY)
        identity = self.find_identity()
        return int(found) if found is not None else identity.term if identity is not None else 0

    def read_ends(self, partitions: Iterable[int]) -> dict[int, tuple[Position, Position]]:
        """Of each partition the floor, below which entries were trimmed, and the last entry's position."""
        wanted = list(partitions)
        with translated(), self._client.pipeline(transaction=True) as pipe:
            for partition in wanted:
                pipe.get(get_floor_key(partition))
                pipe.xrevrange(get_log_key(partition), count=1)
            replies = pipe.execute()
        return {
            partition: (
                START if floor is None else Position.parse(floor.decode()),
                Position.parse(last[0][0].decode()) if last else START,
            )
            for partition, floor, last in zip(wanted, replies[::2], replies[1::2], strict=True)
        }

    def read(self, partition: int, *, after: Position, through: Position, max_entries: int) -> list[Entry]:
        """Ascending."""
        with translated():
            found: Any = self._client.xrange(
                get_log_key(partition), min=f"({after}", max=str(through), count=max_entries
            )
        return [Entry(Position.parse(key.decode()), fields[FIELD], LOST_FIELD in fields) for key, fields in found]

    def close(self) -> None:
        self._client.close()
