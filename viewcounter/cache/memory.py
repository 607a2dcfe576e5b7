"""Answers as they are kept: how long each may be used for what, and a bounded memory of them.

An answer is *fresh* for about a second, or, if it is final, for as long as its generation is the one in force. After
that it is *expired*: still worth having when nobody else answers. Pure but for the lock of the memory.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

import msgspec

ENTRY_OVERHEAD_BYTES = 400
"""What Python's own objects take for one answer besides key and payload, about."""


class CacheEntry(msgspec.Struct, frozen=True, array_like=True):
    """One answer. `read_at`: seconds since 1970, when its reader began to ask.

    `generation`: the answer is final, nothing but a correction changes it, and each correction comes with another
    generation; from the same snapshot as the payload. None: it may be another one a moment later.
    """

    read_at: float
    generation: int | None
    payload: bytes


class Age(StrEnum):
    FRESH = "fresh"
    EXPIRED = "expired"
    """Not to be used while somebody can be asked."""
    GONE = "gone"
    """Not to be used at all."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """`fresh_seconds` after it was read an answer expires, and `stale_seconds` after it is gone."""

    fresh_seconds: float
    stale_seconds: float


def classify_age(stored: CacheEntry, *, now: float, generation: int | None, lifetimes: Lifetimes) -> Age:
    """What `stored` is worth at `now` (seconds since 1970).

    `generation` is the one in force, None when it is not known: then a final answer ages like any other. An answer
    from the future comes from a clock that is ahead: it is not believed to be fresh for longer than a true one.
    """
    age_seconds = now - stored.read_at
    is_judged_by_generation = stored.generation is not None and generation is not None
    is_fresh = (
        stored.generation == generation if is_judged_by_generation else abs(age_seconds) <= lifetimes.fresh_seconds
    )
    if is_fresh:
        return Age.FRESH
    return Age.EXPIRED if age_seconds <= lifetimes.stale_seconds else Age.GONE


class MemoryCache:
    """Of one process; the least recently used answers leave first. Thread-safe.

    Invariant: it holds at most `max_entries`, and at most `max_bytes` by its own count.
    """

    def __init__(self, *, max_bytes: int, max_entries: int) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._entries: OrderedDict[str, CacheEntry] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()  # keeps entries and their sum together

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: str) -> CacheEntry | None:
        with self._lock:
            stored = self._entries.get(key)
            if stored is not None:
                self._entries.move_to_end(key)
            return stored

    def put(self, key: str, stored: CacheEntry) -> int:
        """In the place of what is there under this key. Returns how many others had to leave.

        An answer larger than the whole memory is not taken, nor does an older one of its key stay.
        """
        size_bytes = _measure(key, stored)
        with self._lock:
            before = self._entries.pop(key, None)
            if before is not None:
                self._bytes -= _measure(key, before)
            if size_bytes > self._max_bytes:
                return 0
            self._entries[key] = stored
            self._bytes += size_bytes
            return self._shrink()

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def _shrink(self) -> int:
        """Under the lock."""
        evicted_count = 0
        while self._bytes > self._max_bytes or len(self._entries) > self._max_entries:
            key, stored = self._entries.popitem(last=False)
            self._bytes -= _measure(key, stored)
            evicted_count += 1
        return evicted_count


def _measure(key: str, stored: CacheEntry) -> int:
    return ENTRY_OVERHEAD_BYTES + len(key) + len(stored.payload)
