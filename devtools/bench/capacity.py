"""Resources that a rate of events needs, computed from the measured cost of an event and a flush. Pure.

docs/operations/capacity.md has the formulas and their limits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

MILLION = 1e6
DAY_SECONDS = 86_400
JSON_BYTES = 150
"""Size of an event in a batch of JSON, without compression."""
PLANNED_BATCH = 100
"""The gateway's cost is that of batches of this size."""
FLUSHING = ("workers", "primaries", "replicas")
"""Components whose work depends also on the number of flushes."""
GATEWAY, LOG, PRIMARIES, WORKERS = "gateway", "log", "primaries", "workers"


@dataclass(frozen=True, slots=True)
class Drained:
    """One drain of a full log."""

    shards: int
    workers: int
    events_per_second: float
    events_a_flush: float
    cpu_seconds_per_million: dict[str, float]


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes of an event: in the log's memory and append-only file, in tables with their indexes on one copy, in WAL. A
    row of minutes or totals holds all events of a video and type in that minute, or of all time."""

    log_memory: float
    log_file: float
    raw: float
    ids: float
    wal: float
    minute_row: float
    minute_rows_an_event: float
    total_row: float


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU seconds by component: of a million events in large flushes, and of one flush of any size. Components that
    were not measured in the same run are missing."""

    events: dict[str, float]
    flush: dict[str, float]
    bytes: Bytes


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Choices of the planner. `flush_seconds`: time between two flushes of a pull process to a shard, which is about
    the age of answers. `partitions_each`: partitions for each shard and for each pull process, for even shares."""

    busy_share: float = 0.6
    flush_seconds: float = 0.4
    partitions_each: int = 4
    partitions_min: int = 32
    outage_minutes: int = 30
    cores_a_shard: int = 8


@dataclass(frozen=True, slots=True)
class Needs:
    """`cores` by component at the assumed utilization. Disk is of one copy; each replica needs as much."""

    events_per_second: int
    partitions: int
    pull_processes: int
    cores: dict[str, float]
    shards: int
    log_memory_bytes: float
    raw_bytes_a_day: float
    id_bytes_a_day: float
    wal_bytes_per_second: float
    client_bytes_per_second: float


def find_costs(drained: Sequence[Drained], measured: Bytes, *, earlier: Mapping[str, Mapping[str, Any]]) -> Costs:
    """`earlier`: figures of `ingest` and `pipeline`, if they ran in the same run.

    Drains have large flushes, so their CPU time is the cost of events. At half load the pipeline has small flushes: its
    additional CPU time is the cost of flushes, including that of waiting and of leases.
    """
    events = {name: median(each.cpu_seconds_per_million[name] for each in drained) for name in (LOG, *FLUSHING)}
    flush: dict[str, float] = {}
    if "pipeline" in earlier:
        half = min(earlier["pipeline"]["sustained"], key=lambda each: each["share"])
        millions = half["event_count"] / MILLION
        for name in FLUSHING:
            beyond = (half["cpu_seconds_per_million"][name] - events[name]) * millions
            flush[name] = max(0.0, beyond / half["flush_count"])
    if "ingest" in earlier:
        posted = [
            run["cpu_seconds_per_million"] for run in earlier["ingest"]["runs"] if run["batch_events"] == PLANNED_BATCH
        ]
        events[GATEWAY] = median(each[GATEWAY] for each in posted)
        events[LOG] += median(each[LOG] for each in posted)
    return Costs(events, flush, measured)


def plan_capacity(costs: Costs, events_per_second: int, given: Assumptions = Assumptions()) -> Needs:
    shards = pull_processes = 1
    while True:
        cores = _compute_cores(costs, events_per_second, given, pairs=shards + pull_processes - 1)
        needed = (_count(cores[PRIMARIES] / given.cores_a_shard), _count(cores[WORKERS]))
        if needed[0] <= shards and needed[1] <= pull_processes:
            break
        shards, pull_processes = max(shards, needed[0]), max(pull_processes, needed[1])
    most = max(given.partitions_min, given.partitions_each * max(shards, pull_processes))
    return Needs(
        events_per_second=events_per_second,
        partitions=1 << math.ceil(math.log2(most)),
        pull_processes=pull_processes,
        cores=cores,
        shards=shards,
        log_memory_bytes=events_per_second * given.outage_minutes * 60 * costs.bytes.log_memory,
        raw_bytes_a_day=events_per_second * DAY_SECONDS * costs.bytes.raw,
        id_bytes_a_day=events_per_second * DAY_SECONDS * costs.bytes.ids,
        wal_bytes_per_second=events_per_second * costs.bytes.wal,
        client_bytes_per_second=events_per_second * JSON_BYTES,
    )


def _compute_cores(costs: Costs, events_per_second: int, given: Assumptions, *, pairs: int) -> dict[str, float]:
    """`pairs` of a pull process and a shard of which it has partitions: each has flushes of its own."""
    flushes_per_second = pairs / given.flush_seconds
    return {
        name: (events_per_second / MILLION * an_event + flushes_per_second * costs.flush.get(name, 0.0))
        / given.busy_share
        for name, an_event in costs.events.items()
    }


def _count(share: float) -> int:
    return max(1, math.ceil(share))
