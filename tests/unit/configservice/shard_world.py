"""A model of a shard: instances with rows, WAL streams and settings, on which the planner's steps take effect.

Models only what safety depends on: the rows and the upstream of each instance, whether a commit is acknowledged, and
the effect of each step of a change of primary. Time does not advance unless `age` moves it.
"""

import re
from dataclasses import dataclass, field, replace

from configservice.failover.actions import (
    Action,
    BeginPromotion,
    Choose,
    Detach,
    Hold,
    Prepare,
    Promote,
    Publish,
    RecordPromoted,
    RecordUndone,
    Refuse,
    Release,
    Repoint,
    Stamp,
    Start,
)
from configservice.failover.durability import build_setting
from configservice.failover.plan import check_action, plan_next
from configservice.failover.state import FailoverEvent, FailoverKind, FailoverState, transition
from configservice.failover.view import FailoverAttempt, ShardMember, ShardView
from configservice.monitoring.probe_result import InstanceState
from configservice.settings import ConfigServiceSettings
from configservice.topology.model import Durability, Role, Shard, StandbyLoss
from tests.unit.clusterproxy.builders import build_instance

SETTINGS = ConfigServiceSettings()


@dataclass(slots=True)
class Server:
    name: str
    rows: list[int] = field(default_factory=list)
    term: int = 1
    timeline: int = 1
    is_up: bool = True
    in_recovery: bool = True
    is_read_only: bool = False
    follows: str = ""
    is_detached: bool = False
    names: str = ""
    promotable: bool = True
    silent_seconds: float = 0.0
    lacks: tuple[int, ...] = ()
    replayed: int | None = None
    """How many of its rows it has applied; None: all."""


@dataclass(slots=True)
class World:
    """Invariant watched by `check`: at most one writable primary a term, and none of a term that was never chosen."""

    servers: dict[str, Server]
    attempt: FailoverAttempt
    roles: dict[str, Role]
    synchronous: int = 0
    on_standby_loss: StandbyLoss = StandbyLoss.DEGRADE
    term: int = 1
    acknowledged: list[int] = field(default_factory=list)
    published: list[tuple[str, int]] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    primaries_by_term: dict[int, set[str]] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        *,
        replicas: int = 2,
        kind: FailoverKind = FailoverKind.AUTOMATIC,
        target: str = "",
        synchronous: int = 0,
        on_standby_loss: StandbyLoss = StandbyLoss.DEGRADE,
    ) -> "World":
        """`a` is primary; `b`, `c`, ... follow it. `synchronous`: the number of them that must confirm a commit."""
        names = [chr(ord("b") + n) for n in range(replicas)]
        setting = build_setting(synchronous, names)
        servers = {"a": Server("a", in_recovery=False, names=setting)}
        servers |= {name: Server(name, follows="a") for name in names}
        state = FailoverState.STARTED if kind is FailoverKind.AUTOMATIC else FailoverState.REQUESTED
        attempt = FailoverAttempt(kind, state, old_primary="a", target=target)
        roles = dict.fromkeys(servers, Role.REPLICA) | {"a": Role.PRIMARY}
        return cls(servers, attempt, roles, synchronous=synchronous, on_standby_loss=on_standby_loss)

    def commit(self, row: int, *, through: str = "a", reaching: tuple[str, ...] | None = None) -> bool:
        """A client's write to `through`; `reaching`: the standbys that receive it. Whether it was acknowledged."""
        primary = self.servers[through]
        if not primary.is_up or primary.in_recovery or primary.is_read_only:
            return False
        primary.rows.append(row)
        confirming = []
        for standby in self.servers.values():
            if self.receives(standby, primary) and (reaching is None or standby.name in reaching):
                standby.rows = list(primary.rows)
                standby.term = primary.term
                confirming.append(standby.name)
        needed = int(primary.names.split()[1]) if primary.names else 0
        waited_for = re.findall(r'"(.+?)"', primary.names)
        is_acknowledged = sum(name in waited_for for name in confirming) >= needed
        if is_acknowledged:
            self.acknowledged.append(row)
        return is_acknowledged

    @staticmethod
    def receives(standby: Server, primary: Server) -> bool:
        return (
            standby.is_up and standby.in_recovery and standby.follows == primary.name
            and not standby.is_detached and primary.is_up and not primary.in_recovery
        )  # fmt: skip

    def stream(self) -> None:
        """Every instance that receives from a running primary catches up with it."""
        for standby in self.servers.values():
            primary = self.servers.get(standby.follows)
            if primary is not None and self.receives(standby, primary):
                standby.rows, standby.term, standby.timeline = list(primary.rows), primary.term, primary.timeline

    def die(self, name: str) -> None:
        self.servers[name].is_up = False

    def age(self, seconds: float) -> None:
        self.attempt = replace(
            self.attempt,
            started_seconds=self.attempt.started_seconds + seconds,
            chosen_seconds=self.attempt.chosen_seconds + seconds,
        )
        for server in self.servers.values():
            if not server.is_up:
                server.silent_seconds += seconds

    def look(self) -> ShardView:
        shard = Shard(
            id=1,
            name="shard1",
            term=self.term,
            instances=tuple(build_instance(name, role) for name, role in self.roles.items()),
            durability=Durability.QUORUM if self.synchronous else Durability.ASYNC,
            quorum=max(1, self.synchronous),
            on_standby_loss=self.on_standby_loss,
        )
        return ShardView(shard, {name: self._see(server) for name, server in self.servers.items()})

    def plan(self) -> Action:
        view = self.look()
        action = plan_next(self.attempt, view, settings=SETTINGS)
        check_action(self.attempt, view, action)
        return action

    def step(self, *, is_noted: bool = True) -> Action:
        """One step of the leader; with `is_noted` false it dies after the effect, before the record is written."""
        action = self.plan()
        self.actions.append(action)
        self._change_servers(action)
        if is_noted:
            self._write_down(action)
        self.check()
        return action

    def run(self, *, max_steps: int = 60) -> None:
        """To the end; time passes with each step."""
        for _ in range(max_steps):
            if self.attempt.state in (FailoverState.DONE, FailoverState.UNDONE, FailoverState.REFUSED):
                return
            self.step()
            self.stream()
            self.age(0.2)
        raise AssertionError(f"no end in sight: {self.attempt} after {self.actions[-5:]}")

    def die_as_leader(self) -> None:
        """The next leader knows only the record."""
        self.attempt = replace(self.attempt, is_promotion_sent=False)

    def check(self) -> None:
        for server in self.servers.values():
            if not server.in_recovery and not server.is_read_only and server.is_up:
                names = self.primaries_by_term.setdefault(server.term, set())
                names.add(server.name)
        for term, names in self.primaries_by_term.items():
            published = {name for name, published_term in self.published if published_term == term}
            assert len(published) <= 1, f"term {term} was published for {published}"
            assert len(names - {"a"}) <= 1 or term == 1, f"{names} were primary in term {term}"

    def _see(self, server: Server) -> ShardMember:
        member = ShardMember(
            server.name, self.roles[server.name], promotable=server.promotable, silent_seconds=server.silent_seconds
        )
        if not server.is_up:
            return member
        primary = self.servers.get(server.follows)
        state = InstanceState(
            in_recovery=server.in_recovery,
            is_read_only=server.is_read_only,
            lsn=len(server.rows),
            replay_lsn=len(server.rows) if server.replayed is None else server.replayed,
            timeline=server.timeline,
            is_receiving=primary is not None and self.receives(server, primary),
            sender_host=None,
            sender_port=None,
            stream_silence_seconds=None,
            stream_timeout_seconds=3.0,
            is_detached=server.is_detached,
            synchronous_standby_names=server.names,
        )
        follows = "" if server.is_detached else server.follows
        lacks = server.lacks if server.in_recovery else ()
        return replace(member, state=state, silent_seconds=0.0, term=server.term, follows=follows, lacks=lacks)

    def _change_servers(self, action: Action) -> None:
        match action:
            case Hold(name):
                self.servers[name].is_read_only = True
            case Release(name):
                self.servers[name].is_read_only = False
            case Detach(names):
                for name in names:
                    self.servers[name].is_detached = True
            case Repoint(names, to):
                for name in names:
                    self.servers[name].is_detached = False
                    self.servers[name].follows = to
            case Prepare(name, names):
                self.servers[name].names = names
                self.servers[name].is_read_only = False
            case Promote(name):
                server = self.servers[name]
                if server.in_recovery:
                    server.in_recovery, server.follows = False, ""
                    server.timeline = 1 + max(s.timeline for s in self.servers.values())
                self.attempt = replace(self.attempt, is_promotion_sent=True)
            case Stamp(name, term):
                self.servers[name].term = max(self.servers[name].term, term)

    def _write_down(self, action: Action) -> None:
        match action:
            case Start(target):
                self._note(FailoverEvent.START, target=target, started_seconds=0.0)
            case Refuse():
                self._note(FailoverEvent.REFUSE)
            case Choose(name, term):
                self._note(FailoverEvent.CHOOSE, candidate=name, term=term, chosen_seconds=0.0, is_promotion_sent=False)
            case BeginPromotion():
                self._note(FailoverEvent.PROMOTE)
            case RecordPromoted():
                self._note(FailoverEvent.LEAVE_RECOVERY)
            case RecordUndone():
                self._note(FailoverEvent.UNDO)
            case Publish(name, term):
                self._note(FailoverEvent.PUBLISH)
                self.roles = {n: Role.FENCED if r is Role.PRIMARY else r for n, r in self.roles.items()}
                self.roles[name] = Role.PRIMARY
                self.term = term
                self.published.append((name, term))

    def _note(self, event: FailoverEvent, **changes: object) -> None:
        self.attempt = replace(self.attempt, state=transition(self.attempt.state, event), **changes)


def build_dead(**how) -> World:
    """Three rows on every instance, and a fourth that only `c` has and confirms, if that is enough; then `a` dies."""
    world = World.build(**how)
    for row in (1, 2, 3):
        world.commit(row)
    world.commit(4, reaching=("c",))
    world.die("a")
    return world
