"""`LocalCluster`: starts and stops all servers and processes, in parallel where they do not depend on each other.

Databases start in parallel with Valkey, with `manage.py prepare` (migrations, topology, administrator), and with the
gateway and the worker, which take longer to load than any server to start and wait for their dependencies themselves.
Processes that act on the topology or send tasks start after `prepare`. Applications stop before servers. Every step is
idempotent, so a start is the same after any kind of stop.
"""

import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from devtools.localcluster.applications import PROJECT_ROOT, Application
from devtools.localcluster.environment import write_environment
from devtools.localcluster.errors import NotReady, StateUnusable
from devtools.localcluster.layout import (
    Layout,
    Reach,
    build_added_shard,
    build_layout,
    choose_primary,
    describe_instances,
    describe_layout,
    reach_directly,
)
from devtools.localcluster.member import Member
from devtools.localcluster.patroni import PatroniServer
from devtools.localcluster.ports import choose_free_port
from devtools.localcluster.postgres import PostgresServer, find_primary
from devtools.localcluster.postgres_seed import seed_primary, seed_replica
from devtools.localcluster.process import OWNER_VARIABLE, Launch, run_tool
from devtools.localcluster.records import end_leftovers
from devtools.localcluster.rejoin import rejoin
from devtools.localcluster.rejoiner import Rejoiner
from devtools.localcluster.signing_key import SETTING, get_signing_key_path
from devtools.localcluster.spec import WEB, WORKER, ClusterSpec
from devtools.localcluster.state import StateFolder, write_json
from devtools.localcluster.supervisor import ClusterLock, Phase, Supervisor
from devtools.localcluster.valkey import ValkeyServer
from devtools.localcluster.waiting import Waiter

PARALLEL_STOPS = 8
EARLY_APPLICATIONS = (WEB, WORKER)
"""Started before the cluster is prepared: without a topology events are refused, and no task comes before beat runs."""


def _keep_quiet(_: str) -> None:
    return


class LocalCluster:
    """One cluster in `state_dir`. As a context manager it is stopped at the end, also after an error.

    `outer`: settings of the caller's environment, which may name servers to use instead of our own; empty in tests.
    `report` gets one line for each step, also from other threads. `reach` may put a proxy in front of each server.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        spec: ClusterSpec | None = None,
        outer: Mapping[str, str] | None = None,
        report: Callable[[str], None] | None = None,
        reach: Reach = reach_directly,
    ) -> None:
        self.spec = spec or ClusterSpec()
        self.state = StateFolder(state_dir)
        self._outer = dict(outer or {})
        self._report = report or _keep_quiet
        self._reach = reach
        self._waiter = Waiter()
        self._lock = ClusterLock(self.state)
        self._supervisor = Supervisor(state=self.state, report=self._report)
        self._layout: Layout | None = None
        self._rejoiner: Rejoiner | None = None
        self.project_root = PROJECT_ROOT
        """Of the release whose commands are run; see `use_release`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- members -----------------------------------------------------------------------------------

    @property
    def layout(self) -> Layout:
        """Raises NotReady before the first start."""
        if self._layout is None:
            raise NotReady("the cluster has not been started")
        return self._layout

    @property
    def environment(self) -> dict[str, str]:
        """The complete environment of a process that uses this cluster."""
        return dict(self.layout.child_environment)

    @property
    def web_url(self) -> str:
        return self.layout.web_url

    def server(self, name: str) -> Member:
        """Any server by name: control, log, broker, shard1a, shard1b, ... Raises KeyError."""
        return self.layout.servers[name]

    def database(self, name: str) -> PostgresServer:
        """A PostgreSQL server by name. Raises KeyError."""
        server = self.layout.servers[name]
        if not isinstance(server, PostgresServer):
            raise KeyError(name)
        return server

    def valkey(self, name: str) -> ValkeyServer:
        """A Valkey server by name, `log` or `broker`. Raises KeyError."""
        server = self.layout.servers[name]
        if not isinstance(server, ValkeyServer):
            raise KeyError(name)
        return server

    def application(self, name: str) -> Application:
        """By name: web, worker, beat, beat2, configservice1, shardproxy, ... Raises KeyError."""
        return self.layout.applications[name]

    # -- up ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and wait until it is ready. Raises the first failure; `stop` cleans up after it."""
        self._open()
        early = [a for name, a in self.layout.applications.items() if name in EARLY_APPLICATIONS]
        others = [a for name, a in self.layout.applications.items() if name not in EARLY_APPLICATIONS]

        def start_valkeys_and_early_applications() -> None:
            self._bring_up_all(self.layout.valkeys)
            self._bring_up_all(early)

        def prepare_and_start_others() -> None:
            self.prepare(set_roles=True)
            self._bring_up_all(others)

        self._waiter.run_all(
            [self._start_databases, start_valkeys_and_early_applications, prepare_and_start_others],
        )
        self._watch_servers()
        self._announce_ready()

    def start_servers(self) -> None:
        """Start databases and Valkey, and wait until they are ready and replicas stream. Raises AlreadyRunning."""
        self._open()
        self._waiter.run_all([self._start_databases, partial(self._bring_up_all, self.layout.valkeys)])
        self._describe_instances()  # replicas that rejoined may have found another primary
        self._watch_servers()

    def _open(self) -> None:
        """Lock the state folder and write the files for other processes: settings, layout, instances.

        Raises AlreadyRunning.
        """
        self.state.create()
        if not self._lock.is_held:
            self._lock.acquire()
            self._lock.announce(Phase.STARTING)
            for name in end_leftovers(self.state):
                self._report(f"ended {name}, left by an unclean stop")
            self.state.move_instance_passwords()
            self._layout = build_layout(
                self.state,
                spec=self.spec,
                outer=self._outer,
                waiter=self._waiter,
                replace_taken_ports=True,
                reach=self._reach,
            )
        write_environment(self.state, self.layout.environment.settings)
        write_json(self.state.layout_file, describe_layout(self.layout, pull_processes=self.spec.pull_processes))
        self._describe_instances()

    def _start_databases(self) -> None:
        patroni = [control for control in self.layout.controls if isinstance(control, PatroniServer)]
        ours = [control for control in self.layout.controls if control not in patroni]
        control = [partial(self._start_primary, control) for control in ours]
        control += [partial(self._start_patroni, patroni)] if patroni else []
        shards = [partial(self._start_shard, instances) for instances in self.layout.shards.values()]
        self._waiter.run_all([*control, *shards])

    def _watch_servers(self) -> None:
        self._supervisor.watch(list(self.layout.servers.values()))
        if self._rejoiner is None:
            self._rejoiner = Rejoiner(self.layout.shards, state=self.state, report=self._report)
            self._rejoiner.start()

    def prepare(self, *, set_roles: bool = False) -> None:
        """Run the migrations of control database and shards, publish the topology with the present addresses, create
        the administrator.

        Waits for the databases. `set_roles`: also set the roles of known instances from their data. Call before any
        config service runs.
        """
        self._report("preparing databases")
        self.state.get_secret("admin_password")
        self.run_command(
            "prepare_local", "--partitions", str(self.spec.partitions), "--instances", str(self.state.instances_file),
            "--wait-seconds", str(self.spec.server_ready_seconds),
            *(["--set-roles"] if set_roles else []),
            within_seconds=self.spec.prepare_seconds, signs=True,
        )  # fmt: skip

    def start_applications(self) -> None:
        """Start web, worker, beat and shard proxy, and wait until they are ready."""
        self._bring_up_all(list(self.layout.applications.values()))
        self._announce_ready()

    def _announce_ready(self) -> None:
        self._supervisor.watch(list(self.layout.applications.values()))
        self._lock.announce(Phase.READY)

    def add_shard_servers(self) -> str:
        """Start the servers of one more, empty shard in the running cluster; returns the shard's name.

        The shard is not in the topology yet; see `add_shard`. Later starts of this state folder include it.
        """
        name, instances = build_added_shard(self.state, spec=self.spec, taken=self.layout.shards, waiter=self._waiter)
        self.layout.shards[name] = instances
        write_json(self.state.layout_file, describe_layout(self.layout, pull_processes=self.spec.pull_processes))
        self._start_shard(instances)
        self._describe_instances()
        self._supervisor.watch(instances)
        return name

    def build_valkey_beside(self, name: str) -> ValkeyServer:
        """A second server like the one of this name, not started, in a folder of its own that does not exist yet."""
        return self.valkey(name).build_beside(f"{name}-older", port=choose_free_port())

    def add_shard(self) -> str:
        """Add an empty shard, which owns no partition, to the running cluster. Returns its name."""
        name = self.add_shard_servers()
        described = describe_instances(self.state, self.layout, zone=self.spec.zone)
        instances = next(shard["instances"] for shard in described["shards"] if shard["name"] == name)
        for instance in sorted(instances, key=lambda i: i["role"] != "primary"):
            verb = "add_shard" if instance["role"] == "primary" else "add_replica"
            self.run_command(
                verb, "--shard", name, "--instance", instance["name"], "--host", instance["host"],
                "--port", str(instance["port"]), "--zone", instance["zone"], "--yes",
                within_seconds=self.spec.prepare_seconds,
            )  # fmt: skip
        return name

    def reseed_replica(self, name: str) -> None:
        """Delete a replica's data and copy it from its primary again. Raises KeyError for another name."""
        replica = self.database(name)
        shard = next(instances for instances in self.layout.shards.values() if replica in instances)
        primary = find_primary(shard)
        if primary is None or primary is replica:
            raise KeyError(f"{name} is not a replica")
        replica.stop()
        password = self.state.get_secret("replication_password")
        seed_replica(replica, primary=primary, replication_password=password)
        self._bring_up(replica)

    def use_release(self, project_root: Path) -> None:
        """Commands, and applications at their next start, run the release in this folder."""
        self.project_root = project_root
        for application in self.layout.applications.values():
            application.project_root = project_root

    def run_command(self, *arguments: str, within_seconds: float | None = None, signs: bool = False) -> str:
        """Run a command of `manage.py` on this cluster; returns its output. Raises ProgramFailed.

        `signs`: the command signs topologies itself, because no config service runs that would.
        """
        signing = {SETTING: str(get_signing_key_path(self.state))} if signs or not self.spec.config_services else {}
        return run_tool(
            Launch(
                argv=(sys.executable, str(self.project_root / "manage.py"), *arguments),
                cwd=self.project_root,
                environment=self.environment | signing | {OWNER_VARIABLE: str(self.state.root)},
                death_signal=signal.SIGTERM,
            ),
            within_seconds=self.spec.command_seconds if within_seconds is None else within_seconds,
            is_cancelled=lambda: self._waiter.is_stopped,
        )

    # -- down ----------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Make a running `start`, in another thread or interrupted by a signal handler, give up soon."""
        self._waiter.stop()

    def stop_applications(self) -> None:
        """Stop the applications that run; servers keep running."""
        self._together([application.stop for application in self.layout.applications.values()])

    def discard(self) -> None:
        """Stop everything in parallel and fast, when its data are not used again. Call `stop` afterwards."""
        self._end_watching()
        if self._layout is not None:
            members = [*self._layout.applications.values(), *self._layout.servers.values()]
            self._together([member.discard for member in members])

    def stop(self, *, failed: bool = False) -> None:
        """Stop applications, then servers. Does nothing if the cluster does not run."""
        self._end_watching()
        if self._layout is not None:
            if self._lock.is_held:
                self._lock.announce(Phase.STOPPING)
            self.stop_applications()
            self._together([server.stop for server in self._layout.servers.values()])
        self._lock.release(phase=Phase.FAILED if failed else None)
        self._waiter.resume()

    def _end_watching(self) -> None:
        """After this returns, no process is restarted and no instance is rejoined."""
        if self._rejoiner is not None:
            self._rejoiner.stop()
            self._rejoiner = None
        self._supervisor.stop()

    # -- steps ---------------------------------------------------------------------------------------

    def _start_primary(self, server: PostgresServer) -> None:
        seed_primary(server, superuser_password=self.state.get_secret("postgres_password"))
        self._bring_up(server)
        server.ensure_database()

    def _start_patroni(self, members: Sequence[PatroniServer]) -> None:
        """Together: they choose among themselves which one creates the database."""
        self._bring_up_all(members)
        leader = next((member for member in members if member.is_primary), None)
        if leader is None:
            raise NotReady("no member of the control database is a primary")
        leader.ensure_database()

    def _start_shard(self, instances: tuple[PostgresServer, ...]) -> None:
        primary = choose_primary(instances)
        if primary.exists and primary.is_replica:
            raise StateUnusable(f"no instance of {', '.join(i.name for i in instances)} is a primary; promote one")
        if primary.exists and not primary.is_running:
            # Set by a switchover that the stop has interrupted. The data have just said which instance is the primary.
            primary.forget_overrides("default_transaction_read_only")
        self._start_primary(primary)
        password = self.state.get_secret("replication_password")

        def start_replica(replica: PostgresServer) -> None:
            if replica.exists and not replica.is_replica:
                superuser_password = self.state.get_secret("postgres_password")
                rejoin(
                    replica,
                    primary=primary,
                    superuser_password=superuser_password,
                    replication_password=password,
                    report=self._report,
                )
            seed_replica(replica, primary=primary, replication_password=password)
            self._bring_up(replica)

        self._waiter.run_all([partial(start_replica, replica) for replica in instances if replica is not primary])

    def _describe_instances(self) -> None:
        instances = describe_instances(self.state, self.layout, zone=self.spec.zone, reach=self._reach)
        write_json(self.state.instances_file, instances)

    def _bring_up_all(self, members: Iterable[Member]) -> None:
        self._waiter.run_all([partial(self._bring_up, member) for member in members])

    def _bring_up(self, member: Member) -> None:
        member.start()
        member.wait_ready()
        self._report(f"{member.name} ready")

    @staticmethod
    def _together(steps: Iterable[Callable[[], None]]) -> None:
        """Run all in parallel to their ends, then raise the first failure."""
        with ThreadPoolExecutor(max_workers=PARALLEL_STOPS) as pool:
            futures = [pool.submit(step) for step in steps]
        for future in futures:
            future.result()
