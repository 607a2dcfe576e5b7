"""The cluster under drill, for faults: present roles of its members, and whether its parts are healthy."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import psutil

from devtools.drill.errors import NoVictim
from devtools.drill.freshness import FreshnessWatch
from devtools.drill.load import LoadClient
from devtools.drill.tcp_proxy import TcpProxies
from devtools.localcluster import LocalCluster
from devtools.localcluster.errors import NotReady
from devtools.localcluster.member import Member
from devtools.localcluster.postgres import PostgresServer, find_primary
from devtools.localcluster.rejoin import find_missing_timeline
from devtools.localcluster.small_disk import SmallDisk
from devtools.localcluster.spec import BROKER_SERVER, LOG_SERVER, SUPERUSER_ROLE, WEB, WORKER
from devtools.localcluster.waiting import Waiter

WHOLE_SECONDS = 90.0
"""Time limit for a part to recover by itself, on a busy machine."""
PULL_COMMAND = "run_puller"
_READ_ROLES = (
    "SELECT instance.name, instance.role FROM configservice_instance AS instance"
    " JOIN configservice_shard AS shard ON shard.id = instance.shard_id WHERE shard.name = %s"
)
_READ_LEADER = "SELECT holder FROM configservice_leadership"
_COUNT_OWNED = "SELECT count(*) FROM partition_state WHERE split_part(owner, ':', 2) = %s"
_FIND_UNFINISHED_MOVES = "SELECT count(*) FROM configservice_move WHERE state NOT IN ('done', 'aborted')"
_FIND_STOPPED = "SELECT partition, state, stop_reason FROM partition_state WHERE state NOT IN ('owned', 'moved')"


@dataclass
class FaultContext:
    """Shared by concurrent faults; `lock` guards `poison`."""

    cluster: LocalCluster
    load: LoadClient
    proxies: TcpProxies
    """TCP proxies by server name, of servers that have one in front."""
    freshness: FreshnessWatch
    absent: Sequence[Member] = ()
    """Members that do not run during the load."""
    disks: Mapping[str, SmallDisk] = field(default_factory=dict)
    """Small disks by server name, of servers whose disk can be filled."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    poison: set[UUID] = field(default_factory=set)
    waiter: Waiter = field(default_factory=Waiter)

    # -- roles -----------------------------------------------------------------------------------

    def choose_shard(self, rng: Random) -> str:
        return rng.choice(sorted(self.cluster.layout.shards))

    def get_primary(self, shard: str) -> PostgresServer:
        """The primary by the data on disk. Raises NoVictim."""
        primary = find_primary(self.cluster.layout.shards[shard])
        if primary is None or not primary.is_running:
            raise NoVictim(f"{shard} has no running primary")
        return primary

    def get_replica(self, shard: str, rng: Random) -> PostgresServer:
        """Raises NoVictim."""
        replicas = [s for s in self.cluster.layout.shards[shard] if s.exists and s.is_replica and s.is_running]
        if not replicas:
            raise NoVictim(f"{shard} has no running replica")
        return rng.choice(replicas)

    def find_shard_of_puller(self, pid: int) -> str | None:
        """The shard of which this pull process drains the most partitions; None if none is known."""
        owned: dict[str, int] = {}
        for shard in self.cluster.layout.shards:
            with suppress(NoVictim, NotReady), self.get_primary(shard).session() as connection:
                [(owned[shard],)] = connection.execute(_COUNT_OWNED, (str(pid),)).fetchall()
        return max((shard for shard in owned if owned[shard]), key=lambda shard: owned[shard], default=None)

    def find_leader(self) -> str | None:
        """The config service that holds the lease; None while the control database does not answer."""
        try:
            with self.get_control().session(user=SUPERUSER_ROLE) as connection:
                row = connection.execute(_READ_LEADER).fetchone()
        except NotReady:
            return None
        pid = int(row[0].split()[-1]) if row else 0
        return next((name for name in self.list_config_services() if self._get_pid(name) == pid), None)

    def list_config_services(self) -> list[str]:
        return sorted(name for name in self.cluster.layout.applications if name.startswith("configservice"))

    def get_control(self) -> PostgresServer:
        """The leader, of several. Raises NotReady."""
        control = self.cluster.layout.control
        if control is None:
            raise NotReady("the cluster has no control database of its own")
        return control

    def _get_pid(self, name: str) -> int:
        try:
            return self.cluster.application(name).pid
        except NotReady:
            return -1

    # -- health ----------------------------------------------------------------------------------

    def await_none(self, find_obstacle: Callable[[], str | None], *, what: str, seconds: float = WHOLE_SECONDS) -> None:
        """Raises NotReady."""
        self.waiter.wait_until(find_obstacle, what=what, within_seconds=seconds)

    def find_obstacle_of_shard(self, shard: str) -> str | None:
        """None if the shard has one primary and replicas that follow it, as the topology says."""
        servers = self.cluster.layout.shards[shard]
        for server in servers:
            if not server.is_running:
                return f"{server.name} does not run"
            if server.is_frozen:
                return f"{server.name} is frozen"
        primaries = [server for server in servers if server.exists and not server.is_replica]
        if len(primaries) != 1:
            return f"primaries: {', '.join(server.name for server in primaries) or 'none'}"
        for server in servers:
            obstacle = server.find_obstacle() or (
                find_missing_timeline(server, primary=primaries[0]) if server is not primaries[0] else None
            )
            if obstacle:
                return f"{server.name}: {obstacle}"
        return self._compare_roles(shard, primaries[0].name)

    def _compare_roles(self, shard: str, primary: str) -> str | None:
        try:
            with self.get_control().session(user=SUPERUSER_ROLE) as connection:
                roles = dict(connection.execute(_READ_ROLES, (shard,)).fetchall())
        except NotReady as error:
            return str(error)
        wrong = {n: r for n, r in roles.items() if r != ("primary" if n == primary else "replica")}
        return f"the topology has {wrong}" if wrong else None

    def find_obstacle_of_any(self) -> str | None:
        """None if every process runs and is ready, every shard is healthy and no move is unfinished."""
        layout = self.cluster.layout
        for member in [*layout.applications.values(), *layout.servers.values()]:
            if not member.is_running:
                return f"{member.name} does not run"
            if obstacle := member.find_obstacle():
                return f"{member.name}: {obstacle}"
        for name in (WEB, WORKER):
            if obstacle := self.find_missing_children(name):
                return obstacle
        for shard in layout.shards:
            if obstacle := self.find_obstacle_of_shard(shard):
                return obstacle
        return self._find_unfinished()

    @property
    def has_broker(self) -> bool:
        return all(member.name != BROKER_SERVER for member in self.absent)

    def find_obstacle_of_member(self, member: Member) -> str | None:
        """A worker that starts without its broker never says that it is ready; its pull processes run nevertheless. The
        control database is whole when all of its servers are."""
        if not member.is_running:
            return "the member does not run"
        if member in self.cluster.layout.controls:
            obstacles = ((server.name, server.find_obstacle()) for server in self.cluster.layout.controls)
            return next((f"{name}: {obstacle}" for name, obstacle in obstacles if obstacle), None)
        return None if member.name == WORKER and not self.has_broker else member.find_obstacle()

    def find_missing_children(self, application: str) -> str | None:
        """Processes that gunicorn or the Celery worker has to start again. While Celery waits for its broker it looks
        after no pool process."""
        member, spec = self.cluster.application(application), self.cluster.spec
        pull = list_pull_pids(member)
        others = len(member.list_child_pids()) - len(pull)
        wanted = {WEB: spec.web_workers, WORKER: spec.worker_processes if self.has_broker else 0}[application]
        if others < wanted:
            return f"{application} has too few processes"
        if application == WORKER and len(pull) < spec.pull_processes:
            return "the worker has too few pull processes"
        return None

    def _find_unfinished(self) -> str | None:
        try:
            with self.get_control().session(user=SUPERUSER_ROLE) as connection:
                row = connection.execute(_FIND_UNFINISHED_MOVES).fetchone()
            if row and row[0]:
                return f"{row[0]} moves are unfinished"
            stopped = self.read_shards(_FIND_STOPPED)
        except NotReady as error:
            return str(error)
        return f"partitions {stopped}" if stopped else None

    # -- data ------------------------------------------------------------------------------------

    def read_shards(self, statement: str) -> list[dict[str, Any]]:
        """Rows of every shard's primary. Raises NotReady."""
        rows: list[dict[str, Any]] = []
        for servers in self.cluster.layout.shards.values():
            primary = find_primary(servers)
            if primary is None:
                raise NotReady("a shard has no primary")
            with primary.session() as connection:
                cursor = connection.execute("SET statement_timeout = '60s'")
                cursor = connection.execute(statement.encode())
                names = [column.name for column in cursor.description or []]
                rows += [dict(zip(names, row, strict=True)) for row in cursor]
        return rows

    def find_lag(self) -> str | None:
        """None if every position has reached the end of its log. Call when the load has ended."""
        try:
            rows = self.read_shards("SELECT partition, position FROM partition_state WHERE state <> 'moved'")
            with self.cluster.valkey(LOG_SERVER).session() as log:
                for row in rows:
                    key = f"log:{{{row['partition']}}}"
                    end = log.xinfo_stream(key)["last-generated-id"].decode() if log.exists(key) else "0-0"
                    if row["position"] != end:
                        return f"partition {row['partition']} is at {row['position']}, its log ends at {end}"
        except NotReady as error:
            return str(error)
        return None


def list_pull_pids(member: Member) -> list[int]:
    """The pull processes among its children, by their command line."""
    return sorted(pid for pid in member.list_child_pids() if PULL_COMMAND in _read_command(pid))


def _read_command(pid: int) -> list[str]:
    try:
        command: list[str] = psutil.Process(pid).cmdline()
        return command
    except psutil.NoSuchProcess:
        return []
