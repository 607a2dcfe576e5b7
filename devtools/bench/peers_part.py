"""Part `peers`: the same work by common alternatives and by viewcounter, in one run on the same servers.

The HTTP server has one core; databases, log, workers and the load generator share the others. All systems get the same
events in the same proportions, one in a hundred of them twice.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from devtools.bench import peer_olap
from devtools.bench.defaults import TITLES
from devtools.bench.event_stream import EventStream
from devtools.bench.part import BenchContext
from devtools.bench.peer_floor import Floor
from devtools.bench.peer_report import describe_peers
from devtools.bench.peer_runs import PeerRun, PeerTarget, ServiceCounts, measure_floor, measure_olap, measure_posts
from devtools.bench.peer_site import DATABASE, PeerSite, run_peer_site
from devtools.bench.pinning import pinned
from devtools.bench.report import PartReport
from devtools.bench.usage import list_servers
from devtools.localcluster import ClusterSpec, LocalCluster

FULL_SECONDS, QUICK_SECONDS, WARM_SECONDS = 8.0, 1.2, 0.5
BATCH = 1000
_SEED = 1


@dataclass(frozen=True, slots=True)
class PeerWay:
    """How events are sent: number of connections, `batch_size` in a request (None: one, not as a list).

    `repeat_after` exceeds the number of events in flight, so that a repetition never overtakes its original.
    """

    batch_size: int | None
    connections: int
    repeat_after: int

    def open_stream(self) -> EventStream:
        return EventStream(seed=_SEED, repeat_after=self.repeat_after)


SINGLY = PeerWay(batch_size=None, connections=64, repeat_after=250)
IN_BATCHES = PeerWay(batch_size=BATCH, connections=4, repeat_after=5 * BATCH + 50)

PEER_PATHS = {
    "drf": ("/events", SINGLY),
    "drf_batches": ("/batches", IN_BATCHES),
    "drf_checked": ("/checked-batches", IN_BATCHES),
}
FLOOR_SIZES = {"floor": BATCH, "floor_large": 40 * BATCH}
SERVICE_WAYS = {"service": SINGLY, "service_batches": IN_BATCHES}


class PeersPart:
    name = "peers"
    title = TITLES[name]

    def __init__(self, spec: ClusterSpec) -> None:
        self._spec = spec

    def run(self, context: BenchContext) -> PartReport:
        cluster = context.clusters.get(self._spec)
        seconds = QUICK_SECONDS if context.quick else FULL_SECONDS
        rounds: list[dict[str, PeerRun]] = [{} for _ in range(context.rounds)]
        with run_peer_site(cluster) as site:
            for number, runs in enumerate(rounds):
                context.on_progress("peers", number, context.rounds)
                runs.update(measure_site(site, seconds=seconds))
                runs.update(_measure_straight(site, seconds=seconds))
        token = context.clusters.token
        with run_service(cluster):
            for number, runs in enumerate(rounds):
                context.on_progress("viewcounter beside them", number, context.rounds)
                runs.update(measure_service(cluster, token, seconds=seconds))
        context.on_progress("viewcounter beside them", context.rounds, context.rounds)
        return describe_peers(rounds, name=self.name, title=self.title)


def measure_site(site: PeerSite, *, seconds: float) -> dict[str, PeerRun]:
    roots = {"web": [site.pid], **site.database_pids}
    with pinned(site.pid):
        return {
            name: measure_posts(
                PeerTarget(site.address, path, 201, way.batch_size, way.connections, roots),
                way.open_stream(),
                seconds=seconds,
                warm_seconds=WARM_SECONDS,
                count=site.count,
            )
            for name, (path, way) in PEER_PATHS.items()
        }


def measure_service(cluster: LocalCluster, token: str, *, seconds: float) -> dict[str, PeerRun]:
    """Measures a cluster whose web, worker and beat run."""
    url = urlsplit(cluster.web_url)
    address = (str(url.hostname), int(url.port or 80))
    web = cluster.application("web").pid
    roots = {
        "web": [web],
        "workers": [cluster.application(name).pid for name in ("worker", "beat")],
        **list_servers(cluster),
    }
    with pinned(web), closing(ServiceCounts(cluster)) as counts:
        return {
            name: measure_posts(
                PeerTarget(address, "/v1/events", 202, way.batch_size, way.connections, roots, token),
                way.open_stream(),
                seconds=seconds,
                warm_seconds=WARM_SECONDS,
                count=counts.count,
                count_received=counts.count_received,
            )
            for name, way in SERVICE_WAYS.items()
        }


@contextmanager
def run_service(cluster: LocalCluster) -> Iterator[None]:
    """Web, worker and beat on running servers."""
    applications = [cluster.application(name) for name in ("web", "worker", "beat")]
    try:
        for application in applications:
            application.start()
        for application in applications:
            application.wait_ready()
        yield
    finally:
        for application in reversed(applications):
            application.stop()


def _measure_straight(site: PeerSite, *, seconds: float) -> dict[str, PeerRun]:
    """Measures the systems without HTTP: the floor on the core of the web workers, the column store on all cores."""
    runs: dict[str, PeerRun] = {}
    with closing(Floor(site.server.connect(database=DATABASE))) as floor, pinned(site.pid) as core, _moved_to(core):
        for name, size in FLOOR_SIZES.items():
            runs[name] = measure_floor(
                floor, IN_BATCHES.open_stream(), seconds=seconds, batch_size=size, roots=site.database_pids
            )
    if peer_olap.is_installed():
        runs["olap"] = measure_olap(IN_BATCHES.open_stream(), seconds=seconds, batch_size=BATCH)
    return runs


@contextmanager
def _moved_to(cores: Sequence[int]) -> Iterator[None]:
    """This thread."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
