"""The topology snapshot: which partition lives on which shard, and which instances a shard has.

Pure data with pure look-ups; the only module of the config service that others import. A snapshot is
immutable and complete: a process that holds one can route everything, whatever else is down. Epochs only
grow; of two snapshots the one with the higher epoch is true.
"""

import ipaddress
from enum import StrEnum

import msgspec


class Role(StrEnum):
    PRIMARY = "primary"
    REPLICA = "replica"
    FENCED = "fenced"
    """Was primary and has not rejoined: what it holds may never have happened. Neither written nor read."""


class Durability(StrEnum):
    """When a COMMIT on a shard is answered."""

    ASYNC = "async"
    """When the primary has it on disk. Safe for counts all the same: the log replays what a promoted replica lacks."""
    QUORUM = "quorum"
    """When `quorum` replicas have it on disk too, whichever are first."""
    ALL = "all"
    """When every replica that is not drained has it on disk too."""


class StandbyLoss(StrEnum):
    """What becomes of a shard's commits while fewer replicas are there than its durability asks for."""

    DEGRADE = "degrade"
    """They wait for those that are left."""
    BLOCK = "block"
    """They wait until the replicas are back: events wait in the log."""


def is_loopback(host: str) -> bool:
    """Whether what is sent to `host` (or hosts with commas in between) stays on this machine."""
    return all(_is_local(name) for name in host.split(","))


def _is_local(host: str) -> bool:
    if host in ("", "localhost") or host.startswith("/"):  # a socket of this machine
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Instance(msgspec.Struct, frozen=True):
    """One PostgreSQL server. `password_ref` says where its password is (`env:NAME` or `file:/path`), never what.

    A drained one is not read from, and no commit waits for it: it can be taken away.
    """

    name: str
    role: Role
    host: str
    port: int
    database: str
    user: str
    password_ref: str
    zone: str = "local"
    promotable: bool = True
    sslmode: str = "prefer"
    drained: bool = False


class Shard(msgspec.Struct, frozen=True):
    """One primary and its replicas, holding the same rows. `term` grows at every change of primary.

    `quorum` counts replicas and matters for that durability only.
    """

    id: int
    name: str
    term: int
    instances: tuple[Instance, ...]
    durability: Durability = Durability.ASYNC
    quorum: int = 1
    on_standby_loss: StandbyLoss = StandbyLoss.DEGRADE

    @property
    def primary(self) -> Instance | None:
        return next((i for i in self.instances if i.role is Role.PRIMARY), None)

    @property
    def replicas(self) -> tuple[Instance, ...]:
        return tuple(i for i in self.instances if i.role is Role.REPLICA)

    @property
    def standbys(self) -> tuple[Instance, ...]:
        """The replicas that a commit may wait for and a read may ask."""
        return tuple(i for i in self.replicas if not i.drained)

    @property
    def copies(self) -> tuple[Instance, ...]:
        """The instances that hold the shard's rows: all but fenced ones."""
        return tuple(i for i in self.instances if i.role is not Role.FENCED)


class Assignment(msgspec.Struct, frozen=True, array_like=True):
    """Where one partition lives. `epoch` is the partition's own: it grows each time the partition moves."""

    shard_id: int
    epoch: int


class EventType(msgspec.Struct, frozen=True):
    """`id` 1..32767 is what rows store; `valued` types must carry a value."""

    id: int
    name: str
    valued: bool


class Topology(msgspec.Struct, frozen=True):
    """A whole snapshot. `assignments[p]` belongs to partition p; its length is the partition count P."""

    epoch: int
    shards: tuple[Shard, ...]
    assignments: tuple[Assignment, ...]
    event_types: tuple[EventType, ...]
    cluster_id: str = ""
    """Of the control database that published it; a shard's own copy of it says where the shard belongs."""
    log_id: str = ""
    """Of the event log: a server that does not hold it is refused. Empty until the log has been created."""

    @property
    def partition_count(self) -> int:
        return len(self.assignments)

    def get_shard(self, shard_id: int) -> Shard:
        """Raises KeyError for a shard that this snapshot does not know."""
        for shard in self.shards:
            if shard.id == shard_id:
                return shard
        raise KeyError(shard_id)

    def get_shard_of(self, partition: int) -> Shard:
        """Raises IndexError for a partition outside 0..P-1."""
        if partition < 0:
            raise IndexError(partition)
        return self.get_shard(self.assignments[partition].shard_id)

    def get_partitions_of(self, shard_id: int) -> list[int]:
        """Partitions of a shard, ascending."""
        return [p for p, a in enumerate(self.assignments) if a.shard_id == shard_id]

    def find_event_type(self, name: str) -> EventType | None:
        return next((t for t in self.event_types if t.name == name), None)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Topology)


def encode_topology(topology: Topology) -> bytes:
    return _encoder.encode(topology)


def decode_topology(data: bytes | str) -> Topology:
    """Raises msgspec.ValidationError or msgspec.DecodeError for anything that is not a whole snapshot."""
    return _decoder.decode(data)
