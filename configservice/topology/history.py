"""History of the topology: what changed, when, by whom and why, computed from the published snapshots.

Snapshots are stored as a whole, so there is no second record that could contradict them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from configservice.models import TopologyEpoch
from configservice.topology.model import Topology

Fields = Mapping[str, Any]
ObjectKey = tuple[str, str]
"""Kind and name of an object of the topology."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one field of one object. If the object was added or removed, `field` is empty and one side None."""

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
    """Pure. All differences except the epoch. If `before` is None: all objects of `after` as added.

    The partitions of a first snapshot are only counted: a cluster may have thousands.
    """
    if before is None:
        added = [Change(*key, "", None, fields) for key, fields in _describe_objects(after).items()]
        return (*added, Change("cluster", "", "partition_count", None, after.partition_count))
    old = _describe_objects(before) | _describe_partitions(before)
    new = _describe_objects(after) | _describe_partitions(after)
    return tuple(change for key in {**old, **new} for change in _diff(key, old.get(key), new.get(key)))


def _diff(key: ObjectKey, old: Fields | None, new: Fields | None) -> Iterator[Change]:
    if old is None or new is None:
        yield Change(*key, "", old, new)
        return
    for field in {**old, **new}:
        if old.get(field) != new.get(field):
            yield Change(*key, field, old.get(field), new.get(field))


def _describe_objects(topology: Topology) -> dict[ObjectKey, Fields]:
    """Cluster, shards, instances and event types, by their names."""
    cluster = {"cluster_id": topology.cluster_id, "log_id": topology.log_id, "generation": topology.generation}
    objects: dict[ObjectKey, Fields] = {("cluster", ""): cluster}
    for shard in topology.shards:
        fields = msgspec.to_builtins(shard)
        instances = fields.pop("instances")
        objects["shard", shard.name] = fields
        objects |= {("instance", i["name"]): {"shard": shard.name, **i} for i in instances}
    return objects | {("event_type", t.name): msgspec.to_builtins(t) for t in topology.event_types}


def _describe_partitions(topology: Topology) -> dict[ObjectKey, Fields]:
    names = {shard.id: shard.name for shard in topology.shards}
    return {
        ("partition", str(p)): {"shard": names[a.shard_id], "epoch": a.epoch}
        for p, a in enumerate(topology.assignments)
    }
