"""Builds the topology snapshot from the control tables."""

from uuid import uuid4

from django.conf import settings
from django.db.models import Prefetch

from configservice import models
from configservice.errors import ClusterNotInitialised, OtherCluster
from configservice.topology.model import (
    Assignment,
    Durability,
    EventType,
    Instance,
    Role,
    Shard,
    StandbyLoss,
    Topology,
)


def build_topology(*, epoch: int) -> Topology:
    """The topology of the present tables, with the given `epoch`.

    The first call on a control database creates the cluster id, or takes VIEWCOUNTER_CLUSTER_ID if that is set. Raises
    OtherCluster if that differs from the stored one, and ClusterNotInitialised while no partition is assigned.
    """
    assignments = tuple(
        Assignment(shard_id=row.shard_id, epoch=row.epoch)
        for row in models.PartitionAssignment.objects.order_by("partition")
    )
    if not assignments:
        raise ClusterNotInitialised("no partition is assigned to a shard: run `manage.py init_cluster`")
    cluster = _get_or_create_cluster()
    instances = Prefetch("instances", queryset=models.Instance.objects.order_by("name"))
    return Topology(
        epoch=epoch,
        shards=tuple(_build_shard(row) for row in models.Shard.objects.order_by("id").prefetch_related(instances)),
        assignments=assignments,
        event_types=tuple(
            EventType(id=row.id, name=row.name, valued=row.valued) for row in models.EventType.objects.order_by("id")
        ),
        cluster_id=str(cluster.id),
        log_id=cluster.log_id,
        generation=cluster.generation,
    )


def _get_or_create_cluster() -> models.Cluster:
    wanted = settings.CLUSTER_ID
    cluster: models.Cluster
    cluster, _ = models.Cluster.objects.get_or_create(defaults={"id": wanted or uuid4()})
    found = str(cluster.id)
    if wanted not in ("", found):
        raise OtherCluster(f"the control database describes cluster {found}, VIEWCOUNTER_CLUSTER_ID is {wanted}")
    return cluster


def _build_shard(row: models.Shard) -> Shard:
    return Shard(
        id=row.id,
        name=row.name,
        term=row.term,
        instances=tuple(_build_instance(instance) for instance in row.instances.all()),
        durability=Durability(row.durability),
        quorum=row.quorum,
        on_standby_loss=StandbyLoss(row.on_standby_loss),
    )


def _build_instance(row: models.Instance) -> Instance:
    return Instance(
        name=row.name,
        role=Role(row.role),
        host=row.host,
        port=row.port,
        database=row.database,
        user=row.user,
        password_ref=row.password_ref,
        zone=row.zone,
        promotable=row.promotable,
        sslmode=row.sslmode,
        drained=row.drained,
    )
