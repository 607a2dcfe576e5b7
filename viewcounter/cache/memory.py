"""Cache entries: their ages, and a bounded LRU of them in the memory of a process.

An entry is *fresh* for about a second, or, if it is final, while its generation is the current one. After that it is
*expired*: used only when no shard answers. Pure but for the lock of the LRU.
"""

import threading
from collections import OrderedDict
from enum import StrEnum

import msgspec

from viewcounter.cache.settings import Lifetimes

ENTRY_OVERHEAD_BYTES = 400
"""About the size of the Python objects of one entry, besides key and payload."""


class CacheEntry(msgspec.Struct, frozen=True, array_like=True):
    """Packed rows of one key. `read_at`: seconds since 1970, when the read began.

    `generation`, from the same snapshot as the payload: the rows are final, only a correction changes them, and each
    correction renews the generation. None: they may change at any moment.
    """

    read_at: float
    generation: int | None
    payload: bytes


class Age(StrEnum):
    FRESH = "fresh"
    EXPIRED = "expired"
    """Not to be used while a shard answers."""
    GONE = "gone"
    """Not to be used at all."""


def classify_age(entry: CacheEntry, *, now: float, generation: int | None, lifetimes: Lifetimes) -> Age:
    """The age of `entry` at `now` (seconds since 1970).

    `generation` is the current one, None when it is unknown: then a final entry ages like any other. An entry from the
    future comes from a clock that is ahead: it is fresh for no longer than other entries.
    """
    age_seconds = now - entry.read_at
    has_known_generation = entry.generation is not None and generation is not None
    is_fresh = entry.generation == generation if has_known_generation else abs(age_seconds) <= lifetimes.fresh_seconds
    if is_fresh:
        return Age.FRESH
    return Age.EXPIRED if age_seconds <= lifetimes.stale_seconds else Age.GONE


class MemoryCache:
    """Of one process; the least recently used entries are evicted first. Thread-safe.

    Invariant: it holds at most `max_entries`, and at most `max_bytes` by its own count: two bounds, and a count of
    evictions, which cachetools does not have.
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
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            return entry

    def put(self, key: str, entry: CacheEntry) -> int:
        """Replaces the entry of this key. Returns the number of evicted entries.

        An entry larger than the whole memory is not entry, and the previous one of its key is removed.
        """
        size_bytes = _measure(key, entry)
        with self._lock:
            before = self._entries.pop(key, None)
            if before is not None:
                self._bytes -= _measure(key, before)
            if size_bytes > self._max_bytes:
                return 0
            self._entries[key] = entry
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
            key, entry = self._entries.popitem(last=False)
            self._bytes -= _measure(key, entry)
            evicted_count += 1
        return evicted_count


def _measure(key: str, entry: CacheEntry) -> int:
    return ENTRY_OVERHEAD_BYTES + len(key) + len(entry.payload)
