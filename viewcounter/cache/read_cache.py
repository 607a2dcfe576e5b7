"""What readers get: from this process, from the cache that all share, from the shards, or stale when no shard answers.

Invariant: an answer that is not marked stale is one that a shard gave no longer ago than answers are fresh; a final one
(nothing but a correction changes it) may be older, as long as the shard still names the generation it was read under.

One question may have several parts, each kept under its own key: a video of a list, a shard of a scatter. What a key
stands for never depends on the reader, so that everybody shares it: no functions, no names, nobody's permissions.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from clusterproxy.errors import NotFarEnough
from clusterproxy.results import Route
from runtime.errors import Retryable
from runtime.metrics import CACHE_EVICTIONS, CACHE_READS, CACHED_BYTES
from runtime.singleflight import SingleFlight
from viewcounter.cache.generations import GenerationBoard
from viewcounter.cache.memory import Age, Lifetimes, MemoryCache, Stored, judge_age
from viewcounter.cache.shared import SharedCache

Rows = list[dict[str, Any]]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[list[str], list[list[Any]]])


class Origin(StrEnum):
    """Where a part of an answer comes from."""

    PROCESS = "process"
    SHARED = "shared"
    COALESCED = "coalesced"
    """Another reader of this process was asking the same."""
    SHARD = "shard"
    STALE = "stale"
    """It has expired, and the shard does not answer."""


@dataclass(frozen=True, slots=True)
class CachedPart:
    """Rows of one key. `read_at`: when whoever read them began to ask. `is_final`: only a correction changes them.

    `route`: how they were asked for, None where they had been kept.
    """

    rows: Rows
    read_at: datetime
    origin: Origin
    is_final: bool = False
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the shards said. A key with a failure may have rows all the same: those that could be read."""

    rows: Mapping[str, Rows]
    failures: Mapping[str, Exception] = field(default_factory=dict)
    routes: Mapping[str, Route | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fetched:
    """Each key asked for is in `parts`, in `failures`, or, with what could be read of it, in both."""

    parts: Mapping[str, CachedPart]
    failures: Mapping[str, Exception]


@dataclass(frozen=True, slots=True)
class CacheRequest:
    """A question. `load` asks the shards for some of its keys; a Retryable error is about all of them.

    `accepts`: whether rows are new enough for this reader; None: any that others may have. `allow_cached=False`:
    nothing that was read before this reader asked will do. `skip_shared_cache`: a shard answers as quickly as the
    shared cache, so that is looked into only for what is asked for again, or when the shard fails. `find_generation`
    gives the generation of rows that are final, None for others; `get_generation` the one in force, None when it is
    not known.
    """

    keys: Sequence[str]
    load: Callable[[Sequence[str]], Loaded]
    accepts: Callable[[Rows], bool] | None = None
    allow_cached: bool = True
    skip_shared_cache: bool = False
    find_generation: Callable[[Rows], int | None] = lambda _: None
    get_generation: Callable[[], int | None] = lambda: None


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """`wait_seconds`: how long a reader waits for another one that asks the same."""

    lifetimes: Lifetimes
    max_bytes: int
    max_entries: int
    entry_max_bytes: int
    max_followers: int
    wait_seconds: float


class ReadCache:
    """One a process, thread-safe. `shared` is None where processes share nothing."""

    def __init__(self, settings: CacheSettings, *, shared: SharedCache | None, generations: GenerationBoard) -> None:
        self.generations = generations
        self._settings = settings
        self._memory = MemoryCache(max_bytes=settings.max_bytes, max_entries=settings.max_entries)
        self._shared = shared
        self._flights: SingleFlight[_Obtained] = SingleFlight(max_followers=settings.max_followers)

    @property
    def waiting_count(self) -> int:
        """Readers that wait for what another one asks now."""
        return self._flights.follower_count

    def peek(self, key: str, *, now: datetime) -> Stored | None:
        """What this process has itself and may be given to anybody; the same object until another takes its place.

        Never waits and counts nothing: for callers on an event loop, who count what they make of it.
        """
        stored = self._memory.find(key)
        if stored is None or self._judge(stored, now=now, generation=None) is not Age.FRESH:
            return None
        return stored

    def fetch(self, wanted: CacheRequest, *, now: datetime) -> Fetched:
        """Raises errors of `load` that are not Retryable."""
        parts = self._find_in_memory(wanted, now=now) if wanted.allow_cached else {}
        failures: dict[str, Exception] = {}
        missing = tuple(key for key in wanted.keys if key not in parts)
        if missing:
            try:
                obtained, is_shared = self._obtain_together(wanted, missing, now=now)
            except Exception as error:
                if not isinstance(error, Retryable):
                    raise
                failures = dict.fromkeys(missing, error)
            else:
                failures = dict(obtained.failures)
                parts |= _mark_coalesced(obtained.parts) if is_shared else obtained.parts
            kept = self._find_kept(wanted, failures, now=now)
            parts |= kept
            failures = {key: error for key, error in failures.items() if key not in kept}
        for origin, count in Counter(part.origin for part in parts.values()).items():
            CACHE_READS.labels(origin).inc(count)
        return Fetched(parts, failures)

    def clear(self) -> None:
        """Forgets what this process has. What processes share stays."""
        self._memory.clear()
        self.generations.clear()

    def close(self) -> None:
        if self._shared is not None:
            self._shared.close()

    def _judge(self, stored: Stored, *, now: datetime, generation: int | None) -> Age:
        return judge_age(stored, now=now.timestamp(), generation=generation, lifetimes=self._settings.lifetimes)

    def _find_in_memory(self, wanted: CacheRequest, *, now: datetime) -> dict[str, CachedPart]:
        found = {key: stored for key in wanted.keys if (stored := self._memory.find(key)) is not None}
        return self._keep_fresh(wanted, found, Origin.PROCESS, now=now)

    def _keep_fresh(
        self, wanted: CacheRequest, found: Mapping[str, Stored], origin: Origin, *, now: datetime
    ) -> dict[str, CachedPart]:
        """Those of `found` that may be used while shards answer."""
        has_final = any(stored.generation is not None for stored in found.values())
        generation = wanted.get_generation() if has_final else None
        parts: dict[str, CachedPart] = {}
        for key, stored in found.items():
            if self._judge(stored, now=now, generation=generation) is Age.FRESH:
                part = build_part(stored, origin)
                if wanted.accepts is None or wanted.accepts(part.rows):
                    parts[key] = part
        return parts

    def _find_kept(
        self, wanted: CacheRequest, keys: Mapping[str, Exception], *, now: datetime
    ) -> dict[str, CachedPart]:
        """For keys that no shard answers."""
        if not wanted.allow_cached:
            return {}
        if wanted.skip_shared_cache and keys:
            self._find_shared(wanted, list(keys), now=now)  # it may have been passed by
        parts: dict[str, CachedPart] = {}
        for key in keys:
            stored = self._memory.find(key)
            age = Age.GONE if stored is None else self._judge(stored, now=now, generation=None)
            if stored is not None and age is not Age.GONE:
                part = build_part(stored, Origin.PROCESS if age is Age.FRESH else Origin.STALE)
                if wanted.accepts is None or wanted.accepts(part.rows):
                    parts[key] = part
        return parts

    def _obtain_together(
        self, wanted: CacheRequest, keys: tuple[str, ...], *, now: datetime
    ) -> "tuple[_Obtained, bool]":
        """Nobody may wait for a reader who asks for more than others, nor may one who insists on now follow others."""
        if not wanted.allow_cached:
            return self._obtain(wanted, keys, now=now), False
        accepts = wanted.accepts
        outcome = self._flights.run(
            keys,
            lambda: self._obtain(wanted, keys, now=now),
            deadline_at=time.monotonic() + self._settings.wait_seconds,
            may_lead=accepts is None,
            accepts=lambda obtained: accepts is None or all(accepts(part.rows) for part in obtained.parts.values()),
        )
        return outcome.answer, outcome.is_shared

    def _obtain(self, wanted: CacheRequest, keys: tuple[str, ...], *, now: datetime) -> "_Obtained":
        """From the shared cache, then from the shards. Raises what `load` raises, if there is nothing besides."""
        is_worth_a_look = not wanted.skip_shared_cache or any(self._memory.find(key) is not None for key in keys)
        parts = self._find_shared(wanted, keys, now=now) if wanted.allow_cached and is_worth_a_look else {}
        asked = [key for key in keys if key not in parts]
        if not asked:
            return _Obtained(parts, {})
        try:
            loaded = wanted.load(asked)
        except Exception as error:
            if not parts or not isinstance(error, Retryable):
                raise
            return _Obtained(parts, dict.fromkeys(asked, error))
        self._store(wanted, loaded, now=now)
        for key, rows in loaded.rows.items():
            is_final = key not in loaded.failures and wanted.find_generation(rows) is not None
            parts[key] = CachedPart(rows, now, Origin.SHARD, is_final, loaded.routes.get(key))
        return _Obtained(parts, loaded.failures)

    def _find_shared(self, wanted: CacheRequest, keys: Sequence[str], *, now: datetime) -> dict[str, CachedPart]:
        if self._shared is None:
            return {}
        found = self._shared.find(keys)
        for key, stored in found.items():
            own = self._memory.find(key)
            if own is None or own.read_at < stored.read_at:
                self._remember(key, stored)
        return self._keep_fresh(wanted, found, Origin.SHARED, now=now)

    def _store(self, wanted: CacheRequest, loaded: Loaded, *, now: datetime) -> None:
        """What was read in part only is not kept."""
        answers: dict[str, Stored] = {}
        for key, rows in loaded.rows.items():
            if key not in loaded.failures:
                stored = Stored(now.timestamp(), wanted.find_generation(rows), _encode_rows(rows))
                if len(stored.payload) <= self._settings.entry_max_bytes:
                    answers[key] = stored
        for key, stored in answers.items():
            self._remember(key, stored)
        if self._shared is not None and answers:
            self._shared.store(answers)

    def _remember(self, key: str, stored: Stored) -> None:
        evicted_count = self._memory.put(key, stored)
        if evicted_count:
            CACHE_EVICTIONS.inc(evicted_count)
        CACHED_BYTES.set(self._memory.size_bytes)


def fetch(cache: ReadCache | None, wanted: CacheRequest, *, now: datetime) -> Fetched:
    """Without a cache, every part from its shard.

    Raises the first failure when there is nothing at all, and NotFarEnough whatever else there is: half of what a
    reader demands is not what it demands.
    """
    fetched = _fetch_uncached(wanted, now=now) if cache is None else cache.fetch(wanted, now=now)
    for error in fetched.failures.values():
        if not fetched.parts or isinstance(error, NotFarEnough):
            raise error
    return fetched


def _fetch_uncached(wanted: CacheRequest, *, now: datetime) -> Fetched:
    loaded = wanted.load(wanted.keys)
    parts = {
        key: CachedPart(rows, now, Origin.SHARD, wanted.find_generation(rows) is not None, loaded.routes.get(key))
        for key, rows in loaded.rows.items()
    }
    return Fetched(parts, loaded.failures)


@dataclass(frozen=True, slots=True)
class _Obtained:
    parts: dict[str, CachedPart]
    failures: Mapping[str, Exception]


def _mark_coalesced(parts: Mapping[str, CachedPart]) -> dict[str, CachedPart]:
    return {key: replace(part, origin=Origin.COALESCED) for key, part in parts.items()}


def build_part(stored: Stored, origin: Origin) -> CachedPart:
    """The rows of what was kept."""
    return CachedPart(
        rows=_decode_rows(stored.payload),
        read_at=datetime.fromtimestamp(stored.read_at, UTC),
        origin=origin,
        is_final=stored.generation is not None,
    )


def _encode_rows(rows: Rows) -> bytes:
    """The names once, then the values. Decimals become text, which is as good to `int`."""
    return _encoder.encode((list(rows[0]), [list(row.values()) for row in rows]))


def _decode_rows(payload: bytes) -> Rows:
    names, values = _decoder.decode(payload)
    return [dict(zip(names, row, strict=True)) for row in values]
