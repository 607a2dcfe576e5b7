"""Creates a cluster from a description, or updates it to match one. Idempotent."""

from dataclasses import dataclass, field

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from configservice.errors import BadClusterFile, PartitionCountFixed
from configservice.failover.journal import abandon_all
from configservice.models import EventType, Instance, PartitionAssignment, RoleChoice, Shard, TopologyEpoch
from configservice.topology.cluster_file import ClusterDescription, InstanceDescription, ShardDescription
from configservice.topology.event_types import DEFAULT_EVENT_TYPES
from configservice.topology.model import Role, Topology
from configservice.topology.password_refs import PasswordRefNotAllowed
from configservice.topology.publication import lock_topology, publish

_ADDRESS_FIELDS = ("role", "host", "port", "database", "user", "password_ref", "zone", "sslmode")
_OPERATORS_FIELDS = ("promotable", "drained")
"""Set when an instance is created. Later the operator controls them: a file must not undo a drain."""


@dataclass(slots=True)
class InitialisationReport:
    """The changes made. Instances that are missing in the description are kept: an operator removes them."""

    cluster_id: str = ""
    epoch: int = 0
    published: bool = False
    partitions_assigned: int = 0
    shards_created: list[str] = field(default_factory=list)
    instances_created: list[str] = field(default_factory=list)
    instances_updated: list[str] = field(default_factory=list)
    roles_kept: list[str] = field(default_factory=list)
    """Instances whose role differs from the description, because a failover has changed it."""
    event_types_created: list[str] = field(default_factory=list)


def initialise_cluster(
    description: ClusterDescription, *, partition_count: int, actor: str, set_roles: bool = False
) -> tuple[Topology, InitialisationReport]:
    """One transaction; publishes a new epoch only if something changed.

    Known instances keep the roles that failovers gave them, unless `set_roles`: then the roles of the description are
    set, and running changes of primary are abandoned. Raises PartitionCountFixed if the cluster has another partition
    count, OtherCluster, and BadClusterFile.
    """
    report = InitialisationReport()
    try:
        with transaction.atomic():
            lock_topology()
            _check_partition_count(partition_count)
            shards = [_save_shard(shard, report, set_roles=set_roles) for shard in description.shards]
            if set_roles:
                abandon_all(message="the roles were set by init_cluster")
            _assign_partitions(partition_count, shards, report)
            _create_event_types(report)
            before = TopologyEpoch.objects.count()
            topology = publish(reason="init_cluster", actor=actor)
            report.published = TopologyEpoch.objects.count() > before
            report.epoch, report.cluster_id = topology.epoch, topology.cluster_id
    except IntegrityError as error:
        raise BadClusterFile(f"the description contradicts itself or the existing cluster: {error}") from error
    return topology, report


def _check_partition_count(partition_count: int) -> None:
    existing = PartitionAssignment.objects.count()
    if existing not in (0, partition_count):
        raise PartitionCountFixed(
            f"the cluster was created with {existing} partitions, which cannot be changed to {partition_count}"
        )


def _save_shard(description: ShardDescription, report: InitialisationReport, *, set_roles: bool) -> Shard:
    shard: Shard | None = Shard.objects.filter(name=description.name).first()
    if shard is None:
        shard = Shard(name=description.name)
        _check(shard)
        shard.save()
        report.shards_created.append(shard.name)
    if set_roles:
        _raise_term_if_primary_changes(shard, description)
    # Replicas first: a constraint allows one primary, so the old one must be saved as replica before the new one.
    for instance in sorted(description.instances, key=lambda i: i.role is Role.PRIMARY):
        _save_instance(shard, instance, report, set_roles=set_roles)
    return shard


def _raise_term_if_primary_changes(shard: Shard, description: ShardDescription) -> None:
    new = next(i.name for i in description.instances if i.role is Role.PRIMARY)
    old = Instance.objects.filter(shard=shard, role=RoleChoice.PRIMARY).first()
    if old is not None and old.name != new:
        shard.term += 1
        shard.save(update_fields=["term"])


def _save_instance(
    shard: Shard, description: InstanceDescription, report: InitialisationReport, *, set_roles: bool
) -> None:
    wanted = {name: getattr(description, name) for name in _ADDRESS_FIELDS} | {"role": description.role.value}
    row = Instance.objects.filter(name=description.name).first()
    if row is not None and row.role != wanted["role"] and not set_roles:
        wanted["role"] = row.role
        report.roles_kept.append(row.name)
    if row is None:
        state = {name: getattr(description, name) for name in _OPERATORS_FIELDS}
        row = Instance(shard=shard, name=description.name, **wanted, **state)
        report.instances_created.append(row.name)
    elif row.shard_id != shard.id:
        raise BadClusterFile(f"{row.name} belongs to {row.shard.name}, not to {shard.name}")
    elif all(getattr(row, name) == value for name, value in wanted.items()):
        return
    else:
        for name, value in wanted.items():
            setattr(row, name, value)
        report.instances_updated.append(row.name)
    _check(row)
    row.save()


def _assign_partitions(partition_count: int, shards: list[Shard], report: InitialisationReport) -> None:
    """Assigns partitions round-robin, only once: later a partition changes its shard only by a move."""
    if PartitionAssignment.objects.exists():
        return
    PartitionAssignment.objects.bulk_create(
        PartitionAssignment(partition=partition, shard=shards[partition % len(shards)])
        for partition in range(partition_count)
    )
    report.partitions_assigned = partition_count


def _create_event_types(report: InitialisationReport) -> None:
    existing = set(EventType.objects.values_list("name", flat=True))
    for wanted in DEFAULT_EVENT_TYPES:
        if wanted.name not in existing:
            EventType.objects.create(id=wanted.id, name=wanted.name, valued=wanted.valued)
            report.event_types_created.append(wanted.name)


def _check(row: Shard | Instance) -> None:
    """Checks single rows; the database checks constraints over several rows at the end of the transaction."""
    try:
        row.clean_fields()
        row.clean()
        if isinstance(row, Instance):
            settings.PASSWORD_REF_RULES.check(row.password_ref)
    except PasswordRefNotAllowed as error:
        raise BadClusterFile(f"{row}: password_ref: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{name}: {' '.join(messages)}" for name, messages in error.message_dict.items())
        raise BadClusterFile(f"{row}: {problems}") from error
