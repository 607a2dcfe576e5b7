"""Changes the durability of a shard. Published like every change; the leading config service applies it."""

from django.db import transaction

from configservice.errors import DurabilityRefused
from configservice.failover.requests import find_shard
from configservice.models import Shard
from configservice.topology.model import Durability, StandbyLoss, Topology
from configservice.topology.publication import lock_topology, publish


def set_durability(
    *,
    shard: str,
    durability: Durability,
    quorum: int = 1,
    on_standby_loss: StandbyLoss | None = None,
    actor: str,
    reason: str = "",
) -> Topology:
    """Flushes follow within a second, the servers within another; no process or server restarts.

    `on_standby_loss` None leaves the rule unchanged. Raises UnknownShard and DurabilityRefused.
    """
    with transaction.atomic():
        lock_topology()
        row = find_shard(shard)
        check_durability(durability, quorum=quorum, standby_count=count_standbys(row))
        row.durability, row.quorum = durability.value, quorum
        if on_standby_loss is not None:
            row.on_standby_loss = on_standby_loss.value
        row.save(update_fields=["durability", "quorum", "on_standby_loss"])
        mode = f"{durability} {quorum}" if durability is Durability.QUORUM else durability.value
        return publish(reason=reason or f"durability of {shard}: {mode}, {row.on_standby_loss} on loss", actor=actor)


def describe_durability(row: Shard) -> str:
    """As a sentence."""
    waits_for = {
        Durability.ASYNC: "the primary alone; commits that are lost with it are applied from the event log again",
        Durability.QUORUM: f"the primary and {row.quorum} of its replicas",
        Durability.ALL: "the primary and all its replicas",
    }[Durability(row.durability)]
    if Durability(row.durability) is Durability.ASYNC:
        return f"commits of {row.name} wait for {waits_for}."
    lost = {
        StandbyLoss.BLOCK: "commits wait until they are back",
        StandbyLoss.DEGRADE: "commits wait for those that remain",
    }[StandbyLoss(row.on_standby_loss)]
    return f"commits of {row.name} wait for {waits_for}; while replicas are missing, {lost}."


def count_standbys(row: Shard) -> int:
    return int(row.instances.filter(role="replica", drained=False).count())


def check_durability(durability: Durability, *, quorum: int, standby_count: int) -> None:
    """Pure. Raises DurabilityRefused for a durability that could not be met with every replica up."""
    if quorum < 1:
        raise DurabilityRefused("a quorum has at least one replica", field="quorum")
    if durability is Durability.QUORUM and quorum > standby_count:
        raise DurabilityRefused(f"the shard has {standby_count} replicas to wait for, not {quorum}", field="quorum")
    if durability is Durability.ALL and standby_count == 0:
        raise DurabilityRefused("the shard has no replica to wait for", field="durability")
