"""Processes killed, frozen and restarted."""

import os
import signal
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random

import psutil

from devtools.drill.context import FaultContext, list_pull_pids
from devtools.drill.errors import NoVictim
from devtools.localcluster.errors import NotReady
from devtools.localcluster.member import Member
from devtools.localcluster.postmaster import find_postmaster
from devtools.localcluster.process import find_tree, send_signal
from devtools.localcluster.spec import BROKER_SERVER, LOG_SERVER, SHARD_PROXY, WEB, WORKER
from runtime.periodic import PeriodicTask

SYNC_SECONDS = 0.3
"""Of a slow disk under load from others; shorter than the time limit of an append."""
BETWEEN_SYNCS_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Victim:
    """A process of a member: its own (`pid` is the member's) or a child. `shard`: the affected one, if it is only one.
    `stops_writes`: nothing is written to that shard until another process takes over. `is_tree`: killed with all of the
    member's processes."""

    name: str
    member: Member
    pid: int
    shard: str | None = None
    stops_writes: bool = False
    is_child: bool = False
    is_tree: bool = False


FindVictim = Callable[[FaultContext, Random], Victim]


def find_gateway_worker(context: FaultContext, rng: Random) -> Victim:
    member = context.cluster.application(WEB)
    return _choose_child(member, member.list_child_pids(), "process", rng)


def find_worker_process(context: FaultContext, rng: Random) -> Victim:
    """Of Celery's pool."""
    member = context.cluster.application(WORKER)
    pool = set(member.list_child_pids()) - set(list_pull_pids(member))
    return _choose_child(member, pool, "process", rng)


def find_pull_process(context: FaultContext, rng: Random) -> Victim:
    """Takes the shard that it drains for the affected one, so that the time until others write it is reported."""
    member = context.cluster.application(WORKER)
    victim = _choose_child(member, list_pull_pids(member), "pull process", rng)
    shard = context.find_shard_of_puller(victim.pid)
    return replace(victim, shard=shard, stops_writes=shard is not None)


def _choose_child(member: Member, pids: Collection[int], what: str, rng: Random) -> Victim:
    if not pids:
        raise NoVictim(f"{member.name} has no {what}")
    pid = rng.choice(sorted(pids))
    return Victim(f"{what} {pid} of {member.name}", member, pid, is_child=True)


def find_member(name: str) -> FindVictim:
    def find(context: FaultContext, _rng: Random) -> Victim:
        layout = context.cluster.layout
        return _as_victim(layout.applications[name] if name in layout.applications else context.cluster.server(name))

    return find


def find_beat(context: FaultContext, rng: Random) -> Victim:
    """Any of them: the one that sends tasks or one that stands by."""
    return _as_victim(context.cluster.application(rng.choice(context.cluster.spec.beat_names)))


def find_leader(context: FaultContext, rng: Random) -> Victim:
    """The leading config service, or any while the leader is unknown."""
    return _as_victim(context.cluster.application(context.find_leader() or rng.choice(context.list_config_services())))


def find_control(context: FaultContext, _rng: Random) -> Victim:
    """The control database's server; under Patroni the whole member that leads."""
    return replace(_as_victim(context.get_control()), is_tree=True)


def find_control_postgres(context: FaultContext, _rng: Random) -> Victim:
    """The server alone, whose Patroni goes on."""
    member = context.get_control()
    postmaster = find_postmaster(member.data_dir)
    if postmaster is None:
        raise NoVictim(f"{member.name} has no server")
    return Victim(f"the server of {member.name}", member, postmaster.pid, is_child=True)


def find_primary(context: FaultContext, rng: Random) -> Victim:
    shard = context.choose_shard(rng)
    server = context.get_primary(shard)
    return Victim(server.name, server, server.pid, shard, stops_writes=True)


def find_replica(context: FaultContext, rng: Random) -> Victim:
    shard = context.choose_shard(rng)
    server = context.get_replica(shard, rng)
    return Victim(server.name, server, server.pid, shard)


def _as_victim(member: Member) -> Victim:
    try:
        return Victim(member.name, member, member.pid)
    except NotReady as error:
        raise NoVictim(str(error)) from error


class _ProcessFault:
    def __init__(self, context: FaultContext, find_victim: FindVictim, rng: Random) -> None:
        self._context = context
        self._find_victim = find_victim
        self._rng = rng
        self._hurt: Victim | None = None
        self.victim = ""
        self.shard: str | None = None

    def _choose(self) -> Victim:
        hurt = self._hurt = self._find_victim(self._context, self._rng)
        self.victim = hurt.name
        self.shard = hurt.shard if hurt.stops_writes else None
        return hurt

    def _await_whole(self) -> None:
        """Wait until the member, and for an instance its shard, is healthy."""
        if self._hurt is None:
            return
        member, shard, context = self._hurt.member, self._hurt.shard, self._context

        def find_obstacle() -> str | None:
            if member.name in (WEB, WORKER) and (missing := context.find_missing_children(member.name)):
                return missing
            return context.find_obstacle_of_member(member) or (context.find_obstacle_of_shard(shard) if shard else None)

        context.await_none(find_obstacle, what=self.victim)


def _lives(pid: int) -> bool:
    """False for a zombie: its parent may reap it late."""
    try:
        is_zombie: bool = psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    return not is_zombie


class KillFault(_ProcessFault):
    """`kill -9`. Only the supervisor of the process restarts it: gunicorn, Celery, or an init system."""

    def __init__(
        self, context: FaultContext, find_victim: FindVictim, rng: Random, *, with_children: bool = False
    ) -> None:
        super().__init__(context, find_victim, rng)
        self._with_children = with_children

    def strike(self) -> None:
        hurt = self._choose()
        children = hurt.member.list_child_pids() if self._with_children or hurt.is_tree else []
        for pid in [hurt.pid, *children]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def heal(self) -> None:
        hurt = self._hurt
        if hurt is None:
            return
        self._context.await_none(
            lambda: f"process {hurt.pid} is still there" if _lives(hurt.pid) else None,
            what=f"{self.victim} to be gone",
        )
        self._await_whole()


class Freeze(_ProcessFault):
    """SIGSTOP, then SIGCONT: the process continues its work without knowing what others did meanwhile."""

    def strike(self) -> None:
        hurt = self._choose()
        if hurt.is_child:
            os.kill(hurt.pid, signal.SIGSTOP)
            return
        try:
            hurt.member.pause()
        except NotReady:
            self.heal()  # a part of it may be frozen
            raise

    def heal(self) -> None:
        hurt = self._hurt
        if hurt is None:
            return
        with suppress(ProcessLookupError, NotReady, psutil.NoSuchProcess):
            if hurt.is_child:
                os.kill(hurt.pid, signal.SIGCONT)
            else:
                hurt.member.resume()
        self._await_whole()


class FreezeServer(_ProcessFault):
    """SIGSTOP of a server with all of its processes, while what supervises it goes on; then SIGCONT."""

    _processes: Sequence[psutil.Process] = ()

    def strike(self) -> None:
        hurt = self._choose()
        self._processes = find_tree(hurt.pid)
        send_signal(self._processes, signal.SIGSTOP)

    def heal(self) -> None:
        send_signal(self._processes, signal.SIGCONT)
        self._await_whole()


class SlowSync(_ProcessFault):
    """Each fsync of the victim takes long. The log server syncs at every append and answers nobody meanwhile, so from
    outside this is a process that is stopped again and again, each time for as long as the fsync takes."""

    def __init__(self, context: FaultContext, find_victim: FindVictim, rng: Random) -> None:
        super().__init__(context, find_victim, rng)
        self._stalls = PeriodicTask("slow-sync", self._stall, interval_seconds=BETWEEN_SYNCS_SECONDS)

    def strike(self) -> None:
        self._choose()
        self._stalls.start()

    def heal(self) -> None:
        if self._hurt is None:
            return
        self._stalls.stop(timeout_seconds=10 * SYNC_SECONDS)
        self._await_whole()

    def _stall(self) -> None:
        pid = self._choose().pid
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(SYNC_SECONDS)
            finally:
                os.kill(pid, signal.SIGCONT)


class Restart(_ProcessFault):
    """A graceful restart, as by an operator."""

    def strike(self) -> None:
        self._choose().member.restart()

    def heal(self) -> None:
        self._await_whole()


MEMBERS = {
    "beat": find_beat,
    "leader": find_leader,
    "shardproxy": find_member(SHARD_PROXY),
    "log": find_member(LOG_SERVER),
    "broker": find_member(BROKER_SERVER),
    "control": find_control,
    "primary": find_primary,
    "replica": find_replica,
}
"""Targets whose process is a member's own, by their name in the kinds of faults."""
find_web = find_member(WEB)
find_worker = find_member(WORKER)
