"""What the instances of shards say about themselves, and what a plan makes of it. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass

from configservice.moves.states import MoveState
from configservice.topology.model import Topology

OWNED = "owned"
HELD = "held"
STOPPED = "stopped"
INCOMING = "incoming"
MOVED = "moved"
"""States of the row of a partition on a shard; `viewcounter.storage` writes them."""
OWNERS = frozenset({OWNED, HELD, STOPPED})


@dataclass(frozen=True, slots=True)
class PartitionRow:
    """The row of one partition. The last mover that worked on it had the `token_claim`th claim of the move to
    `token_epoch`; both are 0 without one."""

    epoch: int
    state: str
    token_epoch: int = 0
    token_claim: int = 0


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """`term` and `generation` as the shard stores them; `partitions`: its rows."""

    is_standby: bool
    term: int
    generation: int
    cluster_id: str | None
    partitions: Mapping[int, PartitionRow]


@dataclass(frozen=True, slots=True)
class LostMove:
    """A move that rows of two shards show, to be recorded again in `state`, from which a mover finishes it.

    `claims` is that of its last mover: the next one has a larger token."""

    partition: int
    source_id: int
    target_id: int
    source_epoch: int
    target_epoch: int
    state: MoveState
    claims: int


@dataclass(frozen=True, slots=True)
class RestorationPlan:
    """`topology`: the one to publish. `warnings`: what the plan takes from the document because no shard says it."""

    topology: Topology
    moves: tuple[LostMove, ...]
    warnings: tuple[str, ...]
