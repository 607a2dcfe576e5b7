"""What callers get back: rows, and the way that led to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clusterproxy.freshness import Progress
from clusterproxy.plan import Consistency, Reason
from configservice.topology.model import Instance

ANSWERED = "answered"
BEHIND = "behind"


@dataclass(frozen=True, slots=True)
class QueryAttempt:
    """One instance that was asked. `outcome`: ANSWERED, BEHIND (it answered, but had not seen what was demanded), or
    the code of the error."""

    instance: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Route:
    """How one shard came to its answer. Holds names and figures only: it may be shown to whoever asked.

    `lag_seconds` as last measured, None if unknown. `waited_seconds` of `seconds` went by until an instance was far
    enough. `progress` is empty unless something was demanded. `cache` is for the layer that keeps answers; where it
    had one, no instance was asked.
    """

    epoch: int
    shard: str
    partitions: tuple[int, ...]
    consistency: Consistency
    instance: Instance | None
    reason: Reason | None
    lag_seconds: float | None
    seconds: float
    waited_seconds: float
    attempts: tuple[QueryAttempt, ...]
    progress: Mapping[int, Progress] = field(default_factory=dict)
    cache: str | None = None


@dataclass(frozen=True, slots=True)
class ReadResult:
    """Rows as dicts, who gave them, and the topology epoch that led there.

    `route` is None where instances were named by the caller.
    """

    rows: list[dict[str, Any]]
    shard_id: int
    instance: str
    epoch: int
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class ScatterResult:
    """By shard id. A shard asked is in exactly one of the two: what is missing is never a silent zero."""

    results: dict[int, ReadResult]
    missing: dict[int, Exception]
