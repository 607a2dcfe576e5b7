"""A shard, a shared cache and a board of generations that do what a test says."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from shardproxy.errors import InstanceUnavailable
from viewcounter.cache.memory import Lifetimes
from viewcounter.cache.read_cache import CacheRequest, CacheSettings, Loaded, ReadCache

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SETTINGS = CacheSettings(
    lifetimes=Lifetimes(fresh_seconds=1.0, stale_seconds=60.0),
    max_bytes=10**6,
    max_entries=100,
    entry_max_bytes=10**4,
    max_followers=10,
    wait_seconds=20.0,
)
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


@dataclass
class Question:
    """Asks keys `a`, `b`, ... of something that answers {"value": ...}; None answers nothing but an error."""

    values: dict[str, int | None]
    generation: int | None = None
    generation_in_force: int | None = None
    accepts: object = None
    allow_cached: bool = True
    skip_shared_cache: bool = False
    asked: list[list[str]] = field(default_factory=list)

    def load(self, keys):
        self.asked.append(sorted(keys))
        if all(self.values[key] is None for key in keys):
            raise DOWN
        return Loaded(
            {key: [{"value": self.values[key]}] for key in keys if self.values[key] is not None},
            {key: DOWN for key in keys if self.values[key] is None},
        )

    @property
    def wanted(self):
        return CacheRequest(
            keys=list(self.values),
            load=self.load,
            accepts=self.accepts,
            allow_cached=self.allow_cached,
            skip_shared_cache=self.skip_shared_cache,
            find_generation=lambda _: self.generation,
            get_generation=lambda: self.generation_in_force,
        )


def make_cache(shared=None, settings=SETTINGS):
    return ReadCache(settings, shared=shared, generations=None)
