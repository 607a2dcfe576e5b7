"""What changed, when, by whom and why: told from the published snapshots, which are kept whole.

There is no second record that could say something else. What is not published did not happen.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from configservice.models import TopologyEpoch
from configservice.topology.model import Topology

Fields = Mapping[str, Any]
Thing = tuple[str, str]
"""Its kind and its name."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field of one thing. `field` is empty, and a side None, where the thing itself came or went."""

    kind: str
    name: str
    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    epoch: int
    at: datetime
    actor: str
    reason: str
    changes: tuple[Change, ...]


def read_history(*, limit: int, before_epoch: int | None = None) -> list[HistoryEntry]:
    """The newest `limit` epochs, or those below `before_epoch`; newest first."""
    rows = TopologyEpoch.objects.order_by("-epoch")
    if before_epoch is not None:
        rows = rows.filter(epoch__lt=before_epoch)
    found = list(rows[: limit + 1])
    snapshots = [row.topology for row in found]
    predecessors: list[Topology | None] = [*snapshots[1:], None]
    return [
        HistoryEntry(row.epoch, row.created_at, row.actor, row.reason, diff_topology(before, after))
        for row, after, before in zip(found[:limit], snapshots, predecessors, strict=False)
    ]


def diff_topology(before: Topology | None, after: Topology) -> tuple[Change, ...]:
    """Pure. Everything that differs but the epoch's number; from None, what there was at the beginning.

    Partitions of the beginning are only counted: a cluster may have thousands.
    """
    if before is None:
        told = [Change(*thing, "", None, fields) for thing, fields in _describe_things(after).items()]
        return (*told, Change("cluster", "", "partition_count", None, after.partition_count))
    old = _describe_things(before) | _describe_partitions(before)
    new = _describe_things(after) | _describe_partitions(after)
    return tuple(change for thing in {**old, **new} for change in _diff(thing, old.get(thing), new.get(thing)))


def _diff(thing: Thing, old: Fields | None, new: Fields | None) -> Iterator[Change]:
    if old is None or new is None:
        yield Change(*thing, "", old, new)
        return
    for field in {**old, **new}:
        if old.get(field) != new.get(field):
            yield Change(*thing, field, old.get(field), new.get(field))


def _describe_things(topology: Topology) -> dict[Thing, Fields]:
    """Cluster, shards, instances and event types, by names that people know."""
    things: dict[Thing, Fields] = {("cluster", ""): {"cluster_id": topology.cluster_id, "log_id": topology.log_id}}
    for shard in topology.shards:
        fields = msgspec.to_builtins(shard)
        instances = fields.pop("instances")
        things["shard", shard.name] = fields
        things |= {("instance", i["name"]): {"shard": shard.name, **i} for i in instances}
    return things | {("event_type", t.name): msgspec.to_builtins(t) for t in topology.event_types}


def _describe_partitions(topology: Topology) -> dict[Thing, Fields]:
    names = {shard.id: shard.name for shard in topology.shards}
    return {
        ("partition", str(p)): {"shard": names[a.shard_id], "epoch": a.epoch}
        for p, a in enumerate(topology.assignments)
    }
