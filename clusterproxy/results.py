"""Results of reads: rows, and the route to the instance that gave them."""

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
    """One attempt on an instance. `outcome`: ANSWERED, BEHIND (the rows did not meet the requirement), or the code of
    the error."""

    instance: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Route:
    """How one shard was read. Holds names and figures only: clients may see it.

    `lag_seconds` as last measured, None if unknown. `waited_seconds` of `seconds` went by until an instance was fresh
    enough. `progress` is empty for a read without a requirement. `cache` is set by the layer that caches rows; rows
    from a cache have no instance.
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
    """Rows as dicts, the instance that gave them, and the topology epoch of the read.

    `route` is None where the caller named the instances.
    """

    rows: list[dict[str, Any]]
    shard_id: int
    instance: str
    epoch: int
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class ScatterResult:
    """By shard id. Each shard of the read is in exactly one of the two: a missing shard is never a silent zero."""

    results: dict[int, ReadResult]
    missing: dict[int, Exception]
