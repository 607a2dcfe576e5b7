"""The topology snapshot: the shard of each partition, and the instances of each shard.

Pure data with pure look-ups. A snapshot is immutable and complete: a process that has one can route everything,
whichever servers are down. Of two snapshots the one with the higher version is valid: the epoch grows with each change,
the generation with each rebuild of the control database, which may have forgotten epochs.
"""

import ipaddress
from enum import StrEnum
from typing import NamedTuple

import msgspec


class Role(StrEnum):
    PRIMARY = "primary"
    REPLICA = "replica"
    FENCED = "fenced"
    """Former primary that has not rejoined: its rows may have diverged. Neither written nor read."""


class Durability(StrEnum):
    """When a COMMIT on a shard is acknowledged."""

    ASYNC = "async"
    """When the primary has it on disk. Counts stay exact: the log replays commits that a promoted replica lacks."""
    QUORUM = "quorum"
    """When also the first `quorum` replicas have it on disk."""
    ALL = "all"
    """When also every replica that is not drained has it on disk."""


class StandbyLoss(StrEnum):
    """What commits of a shard do while fewer replicas are up than its durability requires."""

    DEGRADE = "degrade"
    """Commits wait for the remaining replicas only."""
    BLOCK = "block"
    """Commits wait until the replicas are back: events wait in the log."""


def is_loopback(host: str) -> bool:
    """Whether `host` (or each of several hosts, separated by commas) is this machine."""
    return all(_is_local(name) for name in host.split(","))


def _is_local(host: str) -> bool:
    if host in ("", "localhost") or host.startswith("/"):  # a Unix socket
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Instance(msgspec.Struct, frozen=True):
    """One PostgreSQL server. `password_ref` refers to its password (`env:NAME` or `file:/path`), never contains it.

    A drained instance serves no reads, and no commit waits for it: it can be taken down.
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
    """One primary and its replicas, which hold the same rows. `term`, the shard term, grows at every change of primary.

    `quorum` is a number of replicas, used only by that durability.
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
        """The replicas that a commit may wait for and that serve reads."""
        return tuple(i for i in self.replicas if not i.drained)

    @property
    def copies(self) -> tuple[Instance, ...]:
        """The instances that hold the shard's rows: all but fenced ones."""
        return tuple(i for i in self.instances if i.role is not Role.FENCED)


class Assignment(msgspec.Struct, frozen=True, array_like=True):
    """The shard of one partition. `epoch` is the partition's own: it grows each time the partition moves."""

    shard_id: int
    epoch: int


class EventType(msgspec.Struct, frozen=True):
    """`id` 1..32767 is what rows store; `valued` types must carry a value."""

    id: int
    name: str
    valued: bool


class TopologyVersion(NamedTuple):
    """Orders the topologies of a cluster."""

    generation: int
    epoch: int

    def __str__(self) -> str:
        return f"epoch {self.epoch}" if self.generation == 0 else f"generation {self.generation}, epoch {self.epoch}"


class Topology(msgspec.Struct, frozen=True):
    """A whole snapshot. `assignments[p]` belongs to partition p; its length is the partition count P."""

    epoch: int
    shards: tuple[Shard, ...]
    assignments: tuple[Assignment, ...]
    event_types: tuple[EventType, ...]
    cluster_id: str = ""
    """Id of the cluster. Each shard has a copy of it, so that a foreign shard is refused."""
    log_id: str = ""
    """Id of the event log: a log server with another id is refused. Empty until the log has been created."""
    generation: int = 0
    """Raised by `manage.py restore_topology` alone; each shard stores it. Releases before it wrote none: 0."""

    @property
    def version(self) -> "TopologyVersion":
        return TopologyVersion(self.generation, self.epoch)

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
