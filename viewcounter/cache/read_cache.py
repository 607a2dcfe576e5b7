"""Reads through the caches: this process's memory, the cache that processes share, then the shards.

Invariant: rows that are not marked stale were read from a shard no longer ago than entries are fresh; final ones
(nothing but a correction changes them) may be older, while the shard still names the generation they were read under.

One request may have several keys, each cached by itself: a video of a list, a shard of a scatter. What a key stands
for never depends on the reader, so that all readers share it: it holds no function, no name and no permission.
"""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any

import msgspec

from clusterproxy.errors import NotFreshEnough
from clusterproxy.freshness import FreshnessRequirement, find_lag, find_lost
from clusterproxy.results import Route
from runtime.errors import Retryable
from runtime.metrics import CACHE_EVICTIONS, CACHE_READS, CACHED_BYTES
from runtime.singleflight import SingleFlight
from viewcounter.cache.generations import GenerationBoard
from viewcounter.cache.memory import Age, CacheEntry, MemoryCache, classify_age
from viewcounter.cache.settings import ReadCacheSettings
from viewcounter.cache.shared import SharedCache

Rows = list[dict[str, Any]]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[list[str], list[list[Any]]])


class Origin(StrEnum):
    """Where the rows of a key come from."""

    PROCESS = "process"
    SHARED = "shared"
    COALESCED = "coalesced"
    """Another reader of this process was reading the same from the shard."""
    SHARD = "shard"
    STALE = "stale"
    """An expired entry, because the shard does not answer."""


@dataclass(frozen=True, slots=True)
class CacheResult:
    """Rows of one key. `read_at`: when the reader that read them from the shard began.

    `error`: why rows are missing: all of them, or those that are not in `rows`. `generation`: the rows are final, as
    in CacheEntry. `route`: how the shard was read, None for rows from a cache.
    """

    rows: Rows
    read_at: datetime
    origin: Origin
    generation: int | None = None
    route: Route | None = None
    error: Exception | None = None

    @property
    def is_final(self) -> bool:
        return self.generation is not None and self.error is None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRequest(ABC):
    """What one reader wants, and how its rows are read from the shards.

    `requirement`: how fresh rows must be for this reader; None: as fresh as the cache keeps them. `allow_cached=False`:
    only rows that are read after this request. `skip_shared_cache`: a shard answers as quickly as the shared cache, so
    that one is read only for a key that this process had before, or when the shard fails.
    """

    keys: Sequence[str]
    requirement: FreshnessRequirement | None = None
    allow_cached: bool = True
    skip_shared_cache: bool = False

    @abstractmethod
    def load(self, keys: Sequence[str], *, now: datetime) -> dict[str, CacheResult]:
        """A result for each of `keys`, from the shards. Raises an error that concerns all of them."""

    def find_generation(self, generations: GenerationBoard) -> int | None:  # noqa: ARG002 - of subclasses
        """The current generation of what the keys name; None while it is unknown."""
        return None

    def accepts(self, rows: Rows, *, now: datetime) -> bool:
        """Whether rows that were read for another reader are fresh enough, by the progress that they carry."""
        if self.requirement is None:
            return True
        progress = self.requirement.probe.parse(rows)
        if find_lost(self.requirement, progress, partitions=progress) is not None:
            return False  # the shard says whether it still is
        return find_lag(self.requirement, progress, partitions=progress, now=now) is None


class ReadCache:
    """One a process, thread-safe. `shared` is None where processes share nothing."""

    def __init__(
        self, settings: ReadCacheSettings, *, shared: SharedCache | None, generations: GenerationBoard
    ) -> None:
        self.generations = generations
        self._settings = settings
        self._memory = MemoryCache(max_bytes=settings.max_bytes, max_entries=settings.max_entries)
        self._shared = shared
        self._flights: SingleFlight[dict[str, CacheResult]] = SingleFlight(max_followers=settings.max_followers)

    @property
    def waiting_count(self) -> int:
        """Readers that wait for another one that is reading the same."""
        return self._flights.follower_count

    def peek(self, key: str, *, now: datetime) -> CacheEntry | None:
        """A fresh entry of this process's memory; the same object until another replaces it.

        Never waits and counts nothing: for callers on an event loop, which count their answers themselves.
        """
        entry = self._memory.find(key)
        if entry is None or self._classify(entry, now=now, generation=None) is not Age.FRESH:
            return None
        return entry

    def fetch(self, request: CacheRequest, *, now: datetime) -> dict[str, CacheResult]:
        """A result for each key. Raises as `check_results`, and errors of `load` that are not Retryable."""
        results = self._find_in_memory(request, now=now) if request.allow_cached else {}
        missing = tuple(key for key in request.keys if key not in results)
        if missing:
            load = partial(self._load, request, missing, now=now)
            try:
                if request.allow_cached:
                    # A reader with a requirement may have to wait for it, so it never leads: others would wait too.
                    outcome = self._flights.run(
                        missing,
                        load,
                        deadline_at=time.monotonic() + self._settings.wait_seconds,
                        may_lead=request.requirement is None,
                        accepts=lambda loaded: all(request.accepts(r.rows, now=now) for r in loaded.values() if r.rows),
                    )
                    results |= _mark_coalesced(outcome.answer) if outcome.is_shared else outcome.answer
                else:
                    results |= load()
            except Exception as error:
                if not isinstance(error, Retryable):
                    raise
                results |= _fail(missing, error, now=now)
            failed = [key for key in missing if results[key].error is not None]
            if failed and request.allow_cached:
                results |= self._find_expired(request, failed, now=now)
        for origin, count in Counter(result.origin for result in results.values() if result.rows).items():
            CACHE_READS.labels(origin).inc(count)
        check_results(results)
        return results

    def clear(self) -> None:
        """Empties the caches of this process. Entries of the shared cache stay."""
        self._memory.clear()
        self.generations.clear()

    def close(self) -> None:
        if self._shared is not None:
            self._shared.close()

    def _classify(self, entry: CacheEntry, *, now: datetime, generation: int | None) -> Age:
        return classify_age(entry, now=now.timestamp(), generation=generation, lifetimes=self._settings.lifetimes)

    def _find_in_memory(self, request: CacheRequest, *, now: datetime) -> dict[str, CacheResult]:
        found = {key: entry for key in request.keys if (entry := self._memory.find(key)) is not None}
        return self._select_fresh(request, found, Origin.PROCESS, now=now)

    def _select_fresh(
        self, request: CacheRequest, found: Mapping[str, CacheEntry], origin: Origin, *, now: datetime
    ) -> dict[str, CacheResult]:
        """Those of `found` that may be used while shards answer."""
        has_final = any(entry.generation is not None for entry in found.values())
        generation = request.find_generation(self.generations) if has_final else None
        results: dict[str, CacheResult] = {}
        for key, entry in found.items():
            if self._classify(entry, now=now, generation=generation) is Age.FRESH:
                result = build_result(entry, origin)
                if request.accepts(result.rows, now=now):
                    results[key] = result
        return results

    def _find_expired(self, request: CacheRequest, keys: Sequence[str], *, now: datetime) -> dict[str, CacheResult]:
        """For keys that no shard answers."""
        if request.skip_shared_cache:
            self._find_shared(request, keys, now=now)  # `_load` may have skipped it
        results: dict[str, CacheResult] = {}
        for key in keys:
            entry = self._memory.find(key)
            age = Age.GONE if entry is None else self._classify(entry, now=now, generation=None)
            if entry is not None and age is not Age.GONE:
                result = build_result(entry, Origin.PROCESS if age is Age.FRESH else Origin.STALE)
                if request.accepts(result.rows, now=now):
                    results[key] = result
        return results

    def _load(self, request: CacheRequest, keys: Sequence[str], *, now: datetime) -> dict[str, CacheResult]:
        """From the shared cache, then the shards. Raises an error of `load` only if the shared cache had nothing."""
        reads_shared = not request.skip_shared_cache or any(self._memory.find(key) is not None for key in keys)
        results = self._find_shared(request, keys, now=now) if request.allow_cached and reads_shared else {}
        missing = [key for key in keys if key not in results]
        if not missing:
            return results
        try:
            loaded = request.load(missing, now=now)
        except Exception as error:
            if not results or not isinstance(error, Retryable):
                raise
            return results | _fail(missing, error, now=now)
        self._store(loaded)
        return results | loaded

    def _find_shared(self, request: CacheRequest, keys: Sequence[str], *, now: datetime) -> dict[str, CacheResult]:
        if self._shared is None:
            return {}
        found = self._shared.find(keys)
        for key, entry in found.items():
            own = self._memory.find(key)
            if own is None or own.read_at < entry.read_at:
                self._store_in_memory(key, entry)
        return self._select_fresh(request, found, Origin.SHARED, now=now)

    def _store(self, loaded: Mapping[str, CacheResult]) -> None:
        """Results with an error, which may lack rows, are not stored."""
        entries: dict[str, CacheEntry] = {}
        for key, result in loaded.items():
            if result.error is None:
                entry = CacheEntry(result.read_at.timestamp(), result.generation, _encode_rows(result.rows))
                if len(entry.payload) <= self._settings.entry_max_bytes:
                    entries[key] = entry
        for key, entry in entries.items():
            self._store_in_memory(key, entry)
        if self._shared is not None and entries:
            self._shared.store(entries)

    def _store_in_memory(self, key: str, entry: CacheEntry) -> None:
        evicted_count = self._memory.put(key, entry)
        if evicted_count:
            CACHE_EVICTIONS.inc(evicted_count)
        CACHED_BYTES.set(self._memory.size_bytes)


def load_uncached(request: CacheRequest, *, now: datetime) -> dict[str, CacheResult]:
    """Every key from its shard. Raises what `load` raises, and as `check_results`."""
    results = request.load(request.keys, now=now)
    check_results(results)
    return results


def check_results(results: Mapping[str, CacheResult]) -> None:
    """Raises the first error when there are no rows at all, and NotFreshEnough in any case: all rows of an answer meet
    the reader's requirement."""
    has_rows = any(result.rows for result in results.values())
    for result in results.values():
        if result.error is not None and (not has_rows or isinstance(result.error, NotFreshEnough)):
            raise result.error


def build_result(entry: CacheEntry, origin: Origin) -> CacheResult:
    return CacheResult(
        rows=_decode_rows(entry.payload),
        read_at=datetime.fromtimestamp(entry.read_at, UTC),
        origin=origin,
        generation=entry.generation,
    )


def _fail(keys: Sequence[str], error: Exception, *, now: datetime) -> dict[str, CacheResult]:
    return dict.fromkeys(keys, CacheResult([], now, Origin.SHARD, error=error))


def _mark_coalesced(results: Mapping[str, CacheResult]) -> dict[str, CacheResult]:
    return {key: replace(result, origin=Origin.COALESCED) for key, result in results.items()}


def _encode_rows(rows: Rows) -> bytes:
    """The names once, then the values. Decimals become text, which `int` reads as well."""
    return _encoder.encode((list(rows[0]), [list(row.values()) for row in rows]))


def _decode_rows(payload: bytes) -> Rows:
    names, values = _decoder.decode(payload)
    return [dict(zip(names, row, strict=True)) for row in values]
