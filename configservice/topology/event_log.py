"""The id of the cluster's event log and its recorded losses. The log itself belongs to `viewcounter.eventlog`.

The id is published with the topology: every process checks it on the log server before it reads or writes there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from django.db import DatabaseError, transaction

from configservice.errors import ControlDatabaseUnavailable
from configservice.models import ACTOR_MAX_LENGTH, REASON_MAX_LENGTH, Cluster, LogLoss
from configservice.topology.model import Topology
from configservice.topology.publication import lock_topology, publish


@dataclass(frozen=True, slots=True)
class Loss:
    """Entries of a partition after `position` (`term-seq`) are lost, since `shard` had not applied them."""

    partition: int
    shard: str
    position: str


def make_log_id(cluster_id: str) -> str:
    """A new log id. It begins with the cluster id, so that a log names its cluster."""
    return f"{cluster_id}:{uuid4().hex[:12]}"


def is_log_of(cluster_id: str, log_id: str) -> bool:
    return log_id.startswith(f"{cluster_id}:")


def set_log_id(log_id: str, *, actor: str) -> Topology:
    """Publishes the id of a new log: from then on every process requires it."""
    return replace_log(log_id, losses=(), actor=actor, reason="the event log was created")


def replace_log(log_id: str, *, losses: Sequence[Loss], actor: str, reason: str) -> Topology:
    """Like `set_log_id`, and records the losses of the previous log in the same transaction."""
    with transaction.atomic():
        lock_topology()
        cluster = Cluster.objects.get()
        record_losses(losses, log_id=cluster.log_id, actor=actor, reason=reason)
        cluster.log_id = log_id
        cluster.save(update_fields=["log_id"])
        return publish(reason=reason, actor=actor)


def record_losses(losses: Sequence[Loss], *, log_id: str, actor: str, reason: str) -> None:
    """Raises DatabaseError."""
    LogLoss.objects.bulk_create(
        LogLoss(
            partition=loss.partition,
            shard=loss.shard,
            position=loss.position,
            log_id=log_id,
            actor=actor[:ACTOR_MAX_LENGTH],
            reason=reason[:REASON_MAX_LENGTH],
        )
        for loss in losses
    )


def list_losses(*, limit: int) -> list[LogLoss]:
    """Newest first. Raises ControlDatabaseUnavailable."""
    try:
        return list(LogLoss.objects.all()[:limit])
    except DatabaseError as error:
        raise ControlDatabaseUnavailable(str(error)) from error
