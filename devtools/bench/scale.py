"""Part `scale`: drains by number of workers and shards, CPU and bytes of an event by component, and the resources that
higher rates would need.
"""

import os
from dataclasses import dataclass
from typing import Any

from devtools.bench.capacity import Bytes, Drained, find_costs
from devtools.bench.defaults import TITLES
from devtools.bench.drain import DrainBenchOptions, drain_log, fill_log
from devtools.bench.part import BenchContext
from devtools.bench.report import PartReport
from devtools.bench.scale_report import describe_scale
from devtools.bench.shard_tables import empty_shards, measure_sizes
from devtools.localcluster import ClusterSpec, LocalCluster
from devtools.localcluster.spec import LOG_SERVER


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """`shapes`: numbers of workers by number of shards, each cluster filled once. Bytes are measured on the first."""

    shapes: tuple[tuple[int, tuple[int, ...]], ...]
    event_count: int


FULL = ScalePlan(((2, (1, 2, 4)), (1, (1, 2, 4)), (4, (1, 2, 4))), event_count=1_000_000)
QUICK = ScalePlan(((2, (1, 2)),), event_count=100_000)


class ScalePart:
    name = "scale"
    title = TITLES[name]

    def run(self, context: BenchContext) -> PartReport:
        plan = QUICK if context.quick else FULL
        drained: list[Drained] = []
        measured: list[Bytes] = []
        for shards, workers in plan.shapes:
            cluster = context.clusters.get(ClusterSpec(shards=shards))
            measured.append(_warm_up(cluster, plan.event_count, workers[-1], context))
            for count in workers * context.rounds:
                empty_shards(cluster)
                drained.append(_drain(cluster, plan.event_count, count, context))
        costs = find_costs(drained, measured[0], earlier=context.figures)
        cores = len(os.sched_getaffinity(0))
        return describe_scale(self.name, self.title, drained, measured[0], costs, cores=cores)


def _warm_up(cluster: LocalCluster, event_count: int, workers: int, context: BenchContext) -> Bytes:
    """Fill the log and drain it once; returns the bytes of an event in each place."""
    logged = _fill(cluster, event_count, context)
    before = measure_sizes(cluster)
    _drain(cluster, event_count, workers, context)
    return _divide(before, measure_sizes(cluster), logged, event_count)


def _drain(cluster: LocalCluster, event_count: int, workers: int, context: BenchContext) -> Drained:
    options = DrainBenchOptions(
        event_count=event_count,
        workers=workers,
        shards=cluster.spec.shards,
        replicas_per_shard=cluster.spec.replicas_per_shard,
        partitions=cluster.spec.partitions,
        with_floor=False,
    )
    report = drain_log(cluster, options, context.on_progress)
    return Drained(
        shards=cluster.spec.shards,
        workers=workers,
        events_per_second=round(report.events_per_second, 1),
        events_a_flush=round(report.event_count / report.flush_count, 1),
        cpu_seconds_per_million=report.cpu_seconds_per_million,
    )


def _fill(cluster: LocalCluster, event_count: int, context: BenchContext) -> dict[str, int]:
    """Bytes that the log takes for these events, in memory and in its append-only file."""
    before = _read_log(cluster)
    fill_log(cluster, event_count, context.on_progress)
    after = _read_log(cluster)
    return {name: after[name] - before[name] for name in after}


def _read_log(cluster: LocalCluster) -> dict[str, int]:
    with cluster.valkey(LOG_SERVER).session() as server:
        info: Any = server.info()
    return {"log_memory": int(info["used_memory"]), "log_file": int(info["aof_current_size"])}


def _divide(before: dict[str, int], after: dict[str, int], logged: dict[str, int], events: int) -> Bytes:
    grown = {name: after[name] - before[name] for name in after}
    return Bytes(
        log_memory=logged["log_memory"] / events,
        log_file=logged["log_file"] / events,
        raw=grown["raw_bytes"] / events,
        ids=grown["id_bytes"] / events,
        wal=grown["wal_bytes"] / events,
        minute_row=grown["minute_bytes"] / grown["minute_rows"],
        minute_rows_an_event=grown["minute_rows"] / events,
        total_row=grown["total_bytes"] / grown["total_rows"],
    )
