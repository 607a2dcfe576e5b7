"""Small topologies by hand."""

from configservice.topology.event_types import DEFAULT_EVENT_TYPES
from configservice.topology.model import Assignment, Instance, Role, Shard, Topology


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
        password_ref="env:VIEWCOUNTER_SHARD_PASSWORD",
        zone=zone,
    )


def build_shard(shard_id: int, *, replicas: int = 2, zones: tuple[str, ...] = ("local",), term: int = 1) -> Shard:
    """Instances `shard<id>a` (primary), `shard<id>b`, ...; replicas take `zones` in turn."""
    return Shard(
        id=shard_id,
        name=f"shard{shard_id}",
        term=term,
        instances=(
            build_instance(f"shard{shard_id}a", Role.PRIMARY),
            *(
                build_instance(f"shard{shard_id}{chr(ord('b') + n)}", Role.REPLICA, zone=zones[n % len(zones)])
                for n in range(replicas)
            ),
        ),
    )


CLUSTER_ID = "0b7f6d3c-7a51-4c7e-9a3f-0f4f5c1d2e90"


def build_topology(
    *shards: Shard,
    epoch: int = 1,
    partitions: int = 8,
    cluster_id: str = CLUSTER_ID,
    term: int = 1,
    generation: int = 0,
) -> Topology:
    """Partitions go to the shards in turn."""
    shards = shards or (build_shard(1, term=term), build_shard(2, term=term))
    return Topology(
        epoch=epoch,
        shards=shards,
        assignments=tuple(Assignment(shards[p % len(shards)].id, 1) for p in range(partitions)),
        event_types=DEFAULT_EVENT_TYPES,
        cluster_id=cluster_id,
        generation=generation,
    )
