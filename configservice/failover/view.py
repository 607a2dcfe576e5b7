"""Input of the failover planner: the record of the attempt and the present state of the instances. Pure data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from configservice.failover.state import FailoverKind, FailoverState
from configservice.monitoring.probe_result import InstanceState
from configservice.topology.model import Role, Shard


@dataclass(frozen=True, slots=True)
class FailoverAttempt:
    """The fields of the record that the planner uses. Times are ages in seconds.

    `accepts_loss`: the target may lack entries that the event log no longer holds.
    `is_promotion_sent`: this process has sent the promotion to the candidate. Another process may have done so, too.
    """

    kind: FailoverKind
    state: FailoverState
    old_primary: str
    target: str = ""
    candidate: str = ""
    term: int | None = None
    started_seconds: float = 0.0
    chosen_seconds: float = 0.0
    is_promotion_sent: bool = False
    accepts_loss: bool = False

    @property
    def accepted(self) -> str:
        """The instance that may be promoted with missing entries; empty for none."""
        return self.target if self.accepts_loss and self.kind is FailoverKind.FORCED else ""


@dataclass(frozen=True, slots=True)
class ShardMember:
    """One instance. `state` is None while it has not answered for `silent_seconds`.

    `term`: the shard term in its rows (None: unknown). `follows`: the instance in its `primary_conninfo`, empty if that
    is none of the shard. `lacks`: partitions whose entries that it has not applied the event log no longer holds all.
    """

    name: str
    role: Role
    promotable: bool
    state: InstanceState | None = None
    silent_seconds: float = math.inf
    term: int | None = None
    follows: str = ""
    lacks: tuple[int, ...] = ()

    @property
    def is_replaying(self) -> bool:
        """Whether it has received more WAL than it has replayed."""
        return self.state is not None and self.state.replay_lsn < self.state.lsn

    @property
    def is_primary_now(self) -> bool:
        return self.state is not None and not self.state.in_recovery

    @property
    def is_writable_now(self) -> bool:
        return self.state is not None and not self.state.in_recovery and not self.state.is_read_only

    @property
    def is_standby_now(self) -> bool:
        """Only with the role replica: a fenced instance may stream, but is not known to be a copy yet."""
        return self.role is Role.REPLICA and self.state is not None and self.state.in_recovery

    @property
    def is_attached(self) -> bool:
        return self.state is not None and (self.state.is_receiving or not self.state.is_detached)

    @property
    def progress(self) -> tuple[int, int]:
        """How advanced its content is, comparable: rows of a later shard term have the later history."""
        return (-1 if self.term is None else self.term, -1 if self.state is None else self.state.lsn)


@dataclass(frozen=True, slots=True)
class ShardView:
    """`shard` is from the topology, `members` by instance name."""

    shard: Shard
    members: Mapping[str, ShardMember] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.shard.name

    @property
    def term(self) -> int:
        return self.shard.term

    def get(self, name: str) -> ShardMember:
        """An instance that has left the topology counts as one that does not answer."""
        return self.members.get(name) or ShardMember(name=name, role=Role.FENCED, promotable=False)

    @property
    def standbys(self) -> tuple[ShardMember, ...]:
        return tuple(m for m in self.members.values() if m.is_standby_now)
