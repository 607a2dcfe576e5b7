"""Which event log the cluster has, and what it has lost. The log itself is somebody else's; see viewcounter.eventlog.

The id is published with the topology: every process demands it of the log server before it writes or reads there.
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
    """What was in the log past `position` (`ms-seq`) of a partition is gone, as far as `shard` had not applied it."""

    partition: int
    shard: str
    position: str


def make_log_id(cluster_id: str) -> str:
    """A new one. It begins with the cluster's, so that a log tells whose it is."""
    return f"{cluster_id}:{uuid4().hex[:12]}"


def is_log_of(cluster_id: str, log_id: str) -> bool:
    return log_id.startswith(f"{cluster_id}:")


def set_log_id(log_id: str, *, actor: str) -> Topology:
    """From here on every process demands this log."""
    return replace_log(log_id, losses=(), actor=actor, reason="the event log was created")


def replace_log(log_id: str, *, losses: Sequence[Loss], actor: str, reason: str) -> Topology:
    """As `set_log_id`, and what the log before it has lost is written down with it: both or nothing."""
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
