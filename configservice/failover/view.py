"""What the planner of a failover looks at: the record of the attempt and the instances as they are now. Pure data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from configservice.failover.state import FailoverKind, FailoverState
from configservice.monitoring.probe_result import InstanceState
from configservice.topology.model import Role, Shard


@dataclass(frozen=True, slots=True)
class FailoverAttempt:
    """The record, as far as it decides. The times are ages in seconds; None for what has not happened.

    `accepts_loss`: the target may lack entries that the event log no longer holds.
    `is_promotion_sent`: this process has told the candidate to leave recovery. Another one may have, too.
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
        """Who is promoted whatever it lacks; empty: nobody."""
        return self.target if self.accepts_loss and self.kind is FailoverKind.FORCED else ""


@dataclass(frozen=True, slots=True)
class ShardMember:
    """One instance. `state` is None while it does not answer, for `silent_seconds` now.

    `term` is what its rows say (None: unknown), `follows` the instance that its `primary_conninfo` leads to, empty for
    none of the shard's. `lacks`: partitions of which the event log no longer holds what it has not applied.
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
        """It has received more than it has applied."""
        return self.state is not None and self.state.replay_lsn < self.state.lsn

    @property
    def is_primary_now(self) -> bool:
        return self.state is not None and not self.state.in_recovery

    @property
    def is_writable_now(self) -> bool:
        return self.state is not None and not self.state.in_recovery and not self.state.is_read_only

    @property
    def is_standby_now(self) -> bool:
        """One that counts: a fenced instance may stream, but has not been found to be a copy again."""
        return self.role is Role.REPLICA and self.state is not None and self.state.in_recovery

    @property
    def is_attached(self) -> bool:
        return self.state is not None and (self.state.is_receiving or not self.state.is_detached)

    @property
    def progress(self) -> tuple[int, int]:
        """What it holds, comparable: whoever has rows of a later term has the later history."""
        return (-1 if self.term is None else self.term, -1 if self.state is None else self.state.lsn)


@dataclass(frozen=True, slots=True)
class ShardView:
    """`shard` as the topology has it."""

    shard: Shard
    members: Mapping[str, ShardMember] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.shard.name

    @property
    def term(self) -> int:
        return self.shard.term

    def get(self, name: str) -> ShardMember:
        """An instance that has left the topology is one that does not answer."""
        return self.members.get(name) or ShardMember(name=name, role=Role.FENCED, promotable=False)

    @property
    def standbys(self) -> tuple[ShardMember, ...]:
        return tuple(m for m in self.members.values() if m.is_standby_now)
