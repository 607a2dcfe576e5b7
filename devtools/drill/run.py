"""A whole drill: temporary cluster, load, faults, recovery, proof. Cleans up after itself."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from uuid import UUID

from devtools.drill.context import FaultContext
from devtools.drill.drill_fault import SHARD_PROXIES, DrillFault
from devtools.drill.freshness import FreshnessWatch
from devtools.drill.health import ServiceChecker, find_inexact, find_uncounted, find_unhealed
from devtools.drill.incidents import Incident, Incidents
from devtools.drill.load import VIDEOS, LoadClient, LoadShape
from devtools.drill.losses import NOTHING_LOST, READ_LOSSES, judge_losses
from devtools.drill.options import DrillOptions
from devtools.drill.reading import ReadClient
from devtools.drill.report import DrillReport, build_seconds, report_client, report_incident
from devtools.drill.tcp_proxy import TcpProxies
from devtools.drill.verdict import find_unexplained
from devtools.drill.writes import WriteWatch
from devtools.localcluster import ClusterSpec, LocalCluster, run_temporary_cluster
from devtools.localcluster.errors import LocalClusterError
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.small_disk import SmallDisk
from devtools.localcluster.spec import LOG_SERVER
from devtools.localcluster.valkey import ValkeyServer

SPEC = ClusterSpec(shards=2, replicas_per_shard=1, partitions=8, web_workers=2, worker_processes=2)
CLIENTS = 4
BATCH_EVENTS = 50
READERS = 2
READ_SECONDS = 0.05
"""Interval of each reader."""
WATCH_SECONDS = 0.05
CALM_SECONDS = 2.0
"""Load after the last fault, so that clients see its end."""
SHARD_PREFIX = "shard"


@dataclass(frozen=True, slots=True)
class DrillProgress:
    """Progress of a drill: a line of text, and the share that is done, 0 to 1."""

    text: str
    done: float


OnProgress = Callable[[DrillProgress], None]


def run_drill(options: DrillOptions, *, on_progress: OnProgress) -> DrillReport:
    """Raises DrillError or LocalClusterError if there is no verdict; a broken guarantee is in the report."""
    options.check()
    entries = {entry.kind.name: entry for entry in options.choose_faults()}
    drill = _Drill(options, entries, on_progress)
    wanted = {name for entry in entries.values() for name in entry.proxies}
    spec = replace(SPEC, control_replicas=options.control_replicas)
    with TcpProxies() as proxies:

        def reach(name: str, port: int) -> int:
            group = SHARD_PROXIES if name.startswith(SHARD_PREFIX) else name
            return proxies.open(name, port).port if group in wanted else port

        with run_temporary_cluster(spec=spec, reach=reach) as cluster:
            drill.show("starting a cluster", 0.0)
            cluster.start_servers()
            with ExitStack() as disks:
                small = {entry.disk for entry in entries.values() if entry.disk}
                mounted = {name: disks.enter_context(SmallDisk(get_server(cluster, name))) for name in small}
                disks.callback(cluster.stop)  # before the disks go
                cluster.prepare(set_roles=True)
                cluster.start_applications()
                return drill.run(cluster, proxies, mounted)


def get_server(cluster: LocalCluster, name: str) -> PostgresServer | ValkeyServer:
    return cluster.valkey(name) if name == LOG_SERVER else cluster.database(name)


class _Drill:
    def __init__(self, options: DrillOptions, entries: dict[str, DrillFault], on_progress: OnProgress) -> None:
        self._options = options
        self._entries = entries
        self._on_progress = on_progress
        self._plan = options.plan()
        self._started_at = 0.0
        self._done = 0.0
        self._losses = NOTHING_LOST
        self._lost: frozenset[UUID] = frozenset()

    def show(self, text: str, done: float) -> None:
        self._done = done
        self._on_progress(DrillProgress(text, done))

    def run(self, cluster: LocalCluster, proxies: TcpProxies, disks: Mapping[str, SmallDisk]) -> DrillReport:
        key = cluster.run_command("create_api_key", "drill", "--scopes", "events:write,stats:read", "--quiet").strip()
        options = self._options
        load = LoadClient(
            cluster.web_url,
            key,
            seed=options.seed,
            threads=CLIENTS,
            load_shape=LoadShape(every_seconds=CLIENTS * BATCH_EVENTS / options.rate),
            batch_events=BATCH_EVENTS,
            journal_dir=options.journal_dir,
            partitions=SPEC.partitions,
        )
        reads = ReadClient(cluster.web_url, key, videos=VIDEOS, threads=READERS, every_seconds=READ_SECONDS)
        freshness = FreshnessWatch(cluster)
        absent = [
            member
            for member in (*cluster.layout.applications.values(), *cluster.layout.servers.values())
            if member.name.startswith(options.without)
        ]
        context = FaultContext(
            cluster=cluster, load=load, proxies=proxies, freshness=freshness, absent=absent, disks=disks
        )
        writes = WriteWatch(cluster, *cluster.layout.shards, poll_seconds=WATCH_SECONDS)
        incidents = Incidents(
            context, self._plan, entries=self._entries, writes=writes, on_incident=self._report_incident
        )
        for member in absent:
            member.kill()
        self._started_at = time.monotonic()
        with writes, freshness, reads, load:
            self.show("load runs", 0.05)
            incidents.run(started_at=self._started_at)
            time.sleep(CALM_SECONDS)
            self.show("waiting for the last acknowledgements", 0.85)
            load.settle()
        ended_at = time.monotonic()
        violations = [f"{i.kind} on {i.victim or 'no target'}: {i.error}" for i in incidents.read() if i.error]
        violations += self._prove(context, ServiceChecker(cluster.web_url, key), incidents, reads)
        return self._report(context, reads, incidents, ended_at=ended_at, violations=violations)

    def _prove(
        self, context: FaultContext, checker: ServiceChecker, incidents: Incidents, reads: ReadClient
    ) -> list[str]:
        found = []
        if context.absent:
            self.show("waiting until all events are applied, and reading them, without the absent parts", 0.86)
            found += find_uncounted(context, checker)
            for member in context.absent:
                member.start()
        self.show("waiting until the cluster is healthy and all events are applied", 0.87)
        found += find_unhealed(context, checker, before_ready=lambda: self._judge_losses(context))
        self.show("comparing acknowledged events with counts", 0.93)
        posts = context.load.attempts.read()
        in_force = incidents.list_active()
        found += find_inexact(context, checker, lost=self._lost)
        found += find_unexplained(posts, reads.attempts.read(), in_force, started_at=self._started_at)
        return found + self._find_refusals(context)

    def _judge_losses(self, context: FaultContext) -> list[str]:
        """Then closes the losses, as an operator does who has looked at them."""
        try:
            counted = {row["event_id"] for row in context.read_shards("SELECT event_id FROM raw_event")}
            rows = context.read_shards(READ_LOSSES)
            self._losses, self._lost = judge_losses(context.load.tokens, counted, rows)
            if self._losses.ranges:
                context.cluster.run_command("log_losses", "close", "--all", "--reason", "the end of a drill", "--yes")
        except LocalClusterError as error:
            return [f"the losses of the log cannot be judged: {error}"]
        said = []
        if self._losses.unreported:
            said.append(f"{self._losses.unreported} acknowledged events are lost, and in no range that is reported")
        if self._losses.ranges and not any(entry.may_lose for entry in self._entries.values()):
            said.append(f"{self._losses.ranges} ranges of the log are reported as lost, although no fault loses any")
        return said

    @staticmethod
    def _find_refusals(context: FaultContext) -> list[str]:
        """Events may be refused only for their time, while a client's clock is wrong; see `verdict`."""
        wrong = [refusal for refusal in context.load.refused if refusal[1] != "in_the_future"]
        return [f"{len(wrong)} refused, the first: {wrong[0]}"] if wrong else []

    def _report(
        self, context: FaultContext, reads: ReadClient, incidents: Incidents, *, ended_at: float, violations: list[str]
    ) -> DrillReport:
        load = context.load
        posted, read = load.attempts.read(), reads.attempts.read()
        started_at = self._started_at
        return DrillReport(
            seed=self._options.seed,
            load_seconds=round(ended_at - started_at, 1),
            acknowledged=len(load.acknowledged),
            duplicates_sent=load.duplicates_sent,
            refused=len(load.refused),
            poison=len(context.poison),
            posts=report_client(posted),
            reads=report_client(read),
            incidents=[report_incident(i, posted, read, started_at=started_at) for i in incidents.read()],
            losses=self._losses,
            violations=violations,
            post_seconds=build_seconds(posted, started_at=started_at, ended_at=ended_at),
            read_seconds=build_seconds(read, started_at=started_at, ended_at=ended_at),
        )

    def _report_incident(self, incident: Incident) -> None:
        at = time.monotonic() - self._started_at
        if incident.error:
            said = f"{incident.kind}: {incident.error.splitlines()[0]}"
        elif incident.healed_at is None:
            said = f"{incident.kind} on {incident.victim}"
        else:
            written = incident.written_again_seconds
            said = f"{incident.kind}: healthy again"
            if written is not None:
                said += f", written again after {written:.2f} s"
        length = max(fault.at_seconds + fault.hold_seconds for fault in self._plan)
        self.show(f"{at:6.1f} s  {said}", min(0.85, max(self._done, 0.05 + 0.8 * at / (length + 10))))
