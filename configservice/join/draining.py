"""Drains, undrains and removes instances. Each is a change of the topology, and published.

A drained instance goes on replicating, but serves no reads, no commit waits for it, it is not promoted, and the event
log is not kept for it. So before it is used again it must have caught up with its primary.
"""

from django.db import transaction
from django.db.models import Q

from configservice import models
from configservice.errors import CandidateRefused, DrainRefused, DurabilityRefused, UnknownInstance
from configservice.failover.durability_change import check_durability
from configservice.failover.records import Failover
from configservice.join.changes import check_standby
from configservice.join.dependencies import ClusterTools
from configservice.topology.model import Instance, Role, Shard, Topology
from configservice.topology.publication import lock_topology, publish
from configservice.topology.snapshot import build_topology


def drain_instance(name: str, *, actor: str, reason: str = "") -> Topology:
    """Idempotent. Raises UnknownInstance and DrainRefused."""
    with transaction.atomic():
        lock_topology()
        shard, instance = find_instance(name)
        check_drain(shard, instance, is_changing=_is_changing(name))
        return _set(name, drained=True, reason=reason or f"drained {name}", actor=actor)


def undrain_instance(name: str, tools: ClusterTools, *, actor: str, reason: str = "") -> Topology:
    """Raises UnknownInstance, and DrainRefused unless the instance has caught up with its primary."""
    shard, instance = find_instance(name)
    if instance.drained and instance.role is Role.REPLICA:
        try:
            check_standby(instance, shard, tools=tools)
        except CandidateRefused as error:
            raise DrainRefused(f"{name} cannot be used yet: {error}") from error
    with transaction.atomic():
        lock_topology()
        return _set(name, drained=False, reason=reason or f"{name} is used again", actor=actor)


def remove_instance(name: str, *, actor: str, reason: str = "") -> Topology:
    """Raises UnknownInstance and DrainRefused."""
    with transaction.atomic():
        lock_topology()
        shard, instance = find_instance(name)
        check_removal(shard, instance, is_changing=_is_changing(name))
        models.Instance.objects.filter(name=name).delete()
        return publish(reason=reason or f"removed {name} from {shard.name}", actor=actor)


def find_instance(name: str) -> tuple[Shard, Instance]:
    """The instance in the control tables, with its shard. Raises UnknownInstance."""
    topology = build_topology(epoch=0)
    found = {i.name: (shard, i) for shard in topology.shards for i in shard.instances}
    if name not in found:
        raise UnknownInstance(f"there is no instance {name!r}; known instances: {', '.join(sorted(found))}")
    return found[name]


def check_drain(shard: Shard, instance: Instance, *, is_changing: bool) -> None:
    """Pure. Raises DrainRefused."""
    if instance.role is Role.PRIMARY:
        raise DrainRefused(
            f"{instance.name} is the primary of {shard.name}: first `manage.py switchover --shard {shard.name}`"
        )
    _check_unchanging(shard, is_changing=is_changing)
    remaining = [i for i in shard.standbys if i.name != instance.name]
    if len(remaining) == len(shard.standbys):
        return  # no commit waits for it already
    try:
        check_durability(shard.durability, quorum=shard.quorum, standby_count=len(remaining))
    except DurabilityRefused as error:
        raise DrainRefused(
            f"without {instance.name}, {error}: first `manage.py set_durability --shard {shard.name}`"
        ) from error


def check_removal(shard: Shard, instance: Instance, *, is_changing: bool) -> None:
    """Pure. Raises DrainRefused."""
    if instance.role is Role.PRIMARY:
        raise DrainRefused(f"{instance.name} is the primary of {shard.name}")
    if not instance.drained:
        raise DrainRefused(f"{instance.name} is in use: first `manage.py drain_instance {instance.name}`")
    _check_unchanging(shard, is_changing=is_changing)


def describe_drain(shard: Shard, instance: Instance) -> str:
    """The consequences, shown before the operator confirms. Pure."""
    text = (
        f"{instance.name} serves no more reads, no commit waits for it, and it is not promoted. It goes on replicating "
        "until it is removed or used again."
    )
    if not any(i.promotable for i in shard.standbys if i.name != instance.name):
        text += f" {shard.name} then has no promotable replica."
    return text


def describe_removal(shard: Shard, instance: Instance) -> str:
    """Like `describe_drain`."""
    primary = "its primary" if shard.primary is None else shard.primary.name
    return (
        f"{instance.name} is removed from {shard.name}; the server itself is not changed. Drop its replication slot on "
        f"{primary}, or that keeps WAL for it for ever."
    )


def _check_unchanging(shard: Shard, *, is_changing: bool) -> None:
    if is_changing:
        raise DrainRefused(f"the instance takes part in a running change of primary of {shard.name}; wait for its end")


def _is_changing(name: str) -> bool:
    named = Q(old_primary=name) | Q(candidate=name) | Q(target=name)
    return bool(Failover.objects.filter(named, finished_at__isnull=True).exists())


def _set(name: str, *, drained: bool, reason: str, actor: str) -> Topology:
    if not models.Instance.objects.filter(name=name).update(drained=drained, away_since=None):
        raise UnknownInstance(f"instance {name!r} was removed meanwhile")
    return publish(reason=reason, actor=actor)
