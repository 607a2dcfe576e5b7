"""Writes a planned topology into the control tables and publishes it, in one transaction."""

from collections.abc import Callable
from typing import Any

from django.core.management.color import no_style
from django.db import connection, transaction
from django.utils import timezone

from configservice.errors import InvariantBroken, OtherCluster
from configservice.failover.journal import abandon_all
from configservice.models import (
    Cluster,
    EventType,
    Instance,
    Leadership,
    Move,
    PartitionAssignment,
    RoleChoice,
    Shard,
    TopologyEpoch,
)
from configservice.moves.states import FINISHED, MoveState
from configservice.restore.facts import LostMove, RestorationPlan
from configservice.topology import model
from configservice.topology.publication import SIGNER_SILENCE_SECONDS, lock_topology, publish
from configservice.topology.published_snapshot import PublishedSnapshot

_SHARD_FIELDS = ("name", "term", "durability", "quorum", "on_standby_loss")
_INSTANCE_FIELDS = (
    *("role", "host", "port", "database", "user", "password_ref", "zone", "promotable", "sslmode", "drained"),
)


def is_led() -> bool:
    """Whether a config service leads on this control database, and would change roles meanwhile."""
    renewed_at = Leadership.objects.values_list("renewed_at", flat=True).first()
    return renewed_at is not None and (timezone.now() - renewed_at).total_seconds() < SIGNER_SILENCE_SECONDS


def write_restored(
    document: PublishedSnapshot,
    plan: RestorationPlan,
    *,
    complete: Callable[[], None],
    reason: str,
    actor: str,
) -> model.Topology:
    """Publishes the plan's topology. The document is kept in the history, with its signatures.

    `complete` is called in the transaction, last before its commit; it claims the generation on the shards, which from
    then on refuse earlier ones. If it raises, nothing has changed here. Raises InvariantBroken if the control database
    has changed since the plan.
    """
    topology = plan.topology
    with transaction.atomic():
        lock_topology()
        _keep_document(document)
        _write_cluster(topology)
        _write_shards(topology)
        _write_assignments(topology)
        _write_event_types(topology)
        abandon_all(message="the control database was rebuilt")
        _write_moves(plan.moves, actor=actor)
        published = publish(reason=reason, actor=actor, above_epoch=topology.epoch - 1)
        if published != topology:
            raise InvariantBroken(f"the control tables hold another topology than planned, {published.version}: repeat")
        complete()
    return published


def _keep_document(document: PublishedSnapshot) -> None:
    epoch = document.decode().epoch
    if not TopologyEpoch.objects.filter(epoch=epoch).exists():
        TopologyEpoch.objects.create(
            epoch=epoch,
            snapshot=document.snapshot,
            signatures=document.signatures,
            reason="known before the control database was rebuilt",
            actor="restore_topology",
        )


def _write_cluster(topology: model.Topology) -> None:
    values = {"log_id": topology.log_id, "generation": topology.generation}
    cluster, _ = Cluster.objects.update_or_create(
        defaults=values, create_defaults={"id": topology.cluster_id, **values}
    )
    if str(cluster.id) != topology.cluster_id:
        raise OtherCluster(f"the control database describes cluster {cluster.id}, the document {topology.cluster_id}")


def _write_shards(topology: model.Topology) -> None:
    wanted = {instance.name for shard in topology.shards for instance in shard.instances}
    Instance.objects.exclude(name__in=wanted).delete()
    Instance.objects.update(role=RoleChoice.REPLICA)  # a constraint allows one primary in a shard at any moment
    for shard in topology.shards:
        Shard.objects.update_or_create(id=shard.id, defaults=_get_values(shard, _SHARD_FIELDS))
        for instance in shard.instances:
            values = _get_values(instance, _INSTANCE_FIELDS) | {"shard_id": shard.id}
            if instance.promotable:
                values["excluded_at"] = None
            Instance.objects.update_or_create(name=instance.name, defaults=values)
    with connection.cursor() as cursor:  # ids were given by hand
        for statement in connection.ops.sequence_reset_sql(no_style(), [Shard]):
            cursor.execute(statement)


def _write_assignments(topology: model.Topology) -> None:
    PartitionAssignment.objects.bulk_create(
        [
            PartitionAssignment(partition=partition, shard_id=assignment.shard_id, epoch=assignment.epoch)
            for partition, assignment in enumerate(topology.assignments)
        ],
        update_conflicts=True,
        unique_fields=["partition"],
        update_fields=["shard_id", "epoch"],
    )


def _write_event_types(topology: model.Topology) -> None:
    """Adds those that are missing. One of a backup is never removed: rows on shards may hold its id."""
    for event_type in topology.event_types:
        values = {"name": event_type.name, "valued": event_type.valued}
        EventType.objects.get_or_create(id=event_type.id, defaults=values)


def _write_moves(moves: tuple[LostMove, ...], *, actor: str) -> None:
    """Moves that a backup takes for unfinished may have ended since; what the shards show is recorded anew."""
    Move.objects.exclude(state__in=FINISHED).update(
        state=MoveState.ABORTED,
        error="superseded: the control database was rebuilt",
        finished_at=timezone.now(),
        lease_owner="",
        lease_until=None,
    )
    now = timezone.now()
    for move in moves:
        Move.objects.create(
            partition=move.partition,
            source_id=move.source_id,
            target_id=move.target_id,
            source_epoch=move.source_epoch,
            target_epoch=move.target_epoch,
            state=move.state,
            claims=move.claims,
            actor=actor,
            reason="found on the shards when the control database was rebuilt",
            error="" if move.state is MoveState.FLIPPED else "its record was lost",
            flipped_at=now if move.state is MoveState.FLIPPED else None,
            finished_at=now if move.state in FINISHED else None,
        )


def _get_values(row: model.Shard | model.Instance, fields: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in fields}
