"""A shard, a shared cache and a board of generations that do what a test says."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from clusterproxy.freshness import FreshnessRequirement, Progress, ProgressProbe
from shardproxy.errors import InstanceUnavailable
from shardproxy.query import Query, QueryClass
from viewcounter.cache.read_cache import CacheRequest, CacheResult, Origin, ReadCache
from viewcounter.cache.settings import ReadCacheSettings

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SETTINGS = ReadCacheSettings(
    fresh_seconds=1.0,
    stale_seconds=60,
    max_bytes=10**6,
    max_entries=100,
    entry_max_bytes=10**4,
    max_followers=10,
    wait_seconds=20.0,
)
PROBE = Query(name="probe", text="SELECT", query_class=QueryClass.POINT)
DOWN = InstanceUnavailable("gone", instance="shard1a")


def after(seconds):
    return NOW + timedelta(seconds=seconds)


class FakeShared:
    """Valkey as a dictionary; `is_dead` answers nothing."""

    def __init__(self):
        self.answers = {}
        self.is_dead = False

    def find(self, keys):
        return {} if self.is_dead else {key: self.answers[key] for key in keys if key in self.answers}

    def store(self, answers):
        if not self.is_dead:
            self.answers.update(answers)


@dataclass(frozen=True, kw_only=True)
class FunctionRead(CacheRequest):
    """`function` gives the results of keys; `generation_in_force` those of its own time."""

    keys: list[str] = field(default_factory=lambda: ["a"])
    function: Callable[[list[str]], dict[str, CacheResult]]
    find_generation_in_force: Callable[[], int | None] = lambda: None

    def load(self, keys, *, now):
        return {key: replace(result, read_at=now) for key, result in self.function(keys).items()}

    def find_generation(self, _):
        return self.find_generation_in_force()


def loaded(row, *, generation=None, error=None):
    return CacheResult([] if row is None else [row], NOW, Origin.SHARD, generation, error=error)


def at_least(value):
    """A requirement that rows with this value, or a higher one, meet."""
    return FreshnessRequirement(
        ProgressProbe(PROBE, parse=lambda rows: {0: Progress((rows[0]["value"], 0), NOW)}),
        min_positions={0: (value, 0)},
    )


@dataclass
class Question:
    """Keys `a`, `b`, ... of something that answers {"value": ...}; None answers nothing but an error."""

    values: dict[str, int | None]
    generation: int | None = None
    generation_in_force: int | None = None
    requirement: FreshnessRequirement | None = None
    allow_cached: bool = True
    skip_shared_cache: bool = False
    asked: list[list[str]] = field(default_factory=list)

    def load(self, keys):
        self.asked.append(sorted(keys))
        if all(self.values[key] is None for key in keys):
            raise DOWN
        return {
            key: loaded(None, error=DOWN)
            if self.values[key] is None
            else loaded({"value": self.values[key]}, generation=self.generation)
            for key in keys
        }

    @property
    def request(self):
        return FunctionRead(
            keys=list(self.values),
            function=self.load,
            requirement=self.requirement,
            allow_cached=self.allow_cached,
            skip_shared_cache=self.skip_shared_cache,
            find_generation_in_force=lambda: self.generation_in_force,
        )


def make_cache(shared=None, settings=SETTINGS):
    return ReadCache(settings, shared=shared, generations=None)
