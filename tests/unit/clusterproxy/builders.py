"""Small topologies by hand."""

from configservice.event_types import DEFAULT_EVENT_TYPES
from configservice.topology import Assignment, Instance, Role, Shard, Topology


def build_instance(
    name: str, role: Role, *, zone: str = "local", port: int = 5432, promotable: bool = True
) -> Instance:
    return Instance(
        name=name,
        role=role,
        host="127.0.0.1",
        port=5432,
        database="counts",
        user="viewcounter",
        password_ref="env:SHARD_PASSWORD",
        zone=zone,
    )


def build_shard(shard_id: int, *, replicas: int = 2, zones: tuple[str, ...] = ("local",)) -> Shard:
    """Instances `shard<id>a` (primary), `shard<id>b`, ...; replicas take `zones` in turn."""
    return Shard(
        id=shard_id,
        name=f"shard{shard_id}",
        term=1,
        instances=(
            build_instance(f"shard{shard_id}a", Role.PRIMARY),
            *(
                build_instance(f"shard{shard_id}{chr(ord('b') + n)}", Role.REPLICA, zone=zones[n % len(zones)])
                for n in range(replicas)
            ),
        ),
    )


def build_topology(*shards: Shard, epoch: int = 1, partitions: int = 8) -> Topology:
    """Partitions go to the shards in turn."""
    shards = shards or (build_shard(1), build_shard(2))
    return Topology(
        epoch=epoch,
        shards=shards,
        assignments=tuple(Assignment(shards[p % len(shards)].id, 1) for p in range(partitions)),
        event_types=DEFAULT_EVENT_TYPES,
    )
