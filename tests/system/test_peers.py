"""Part `peers` of the benchmark: its column of exactness is correct, on real servers."""

from contextlib import closing

import pytest

from devtools.bench.event_stream import EventStream
from devtools.bench.peer_floor import Floor
from devtools.bench.peer_runs import PeerTarget, ServiceCounts, measure_floor, measure_posts
from devtools.bench.peer_site import DATABASE, run_peer_site
from devtools.localcluster import LocalCluster

pytestmark = [pytest.mark.system, pytest.mark.long(minutes=1)]

EVENTS, REPEATED, BATCH = 400, 4, 20


def open_stream():
    return EventStream(seed=1, repeat_after=50)


def measure(target, **counts):
    requests = EVENTS // (target.batch_size or 1)
    return measure_posts(target, open_stream(), seconds=60.0, warm_seconds=0.0, most_requests=requests, **counts)


def test_an_event_sent_again_is_counted_once_by_the_service_alone(shared_cluster: LocalCluster):
    runs = {}
    with run_peer_site(shared_cluster) as site:
        for path, batch_size in (("/events", None), ("/batches", BATCH), ("/checked-batches", BATCH)):
            runs[path] = measure(
                PeerTarget(site.address, path, 201, batch_size, 2, {"web": [site.pid]}), count=site.count
            )
        with closing(Floor(site.server.connect(database=DATABASE))) as floor:
            runs["floor"] = measure_floor(
                floor, open_stream(), seconds=1e-6, batch_size=EVENTS, roots=site.database_pids
            )
    token = shared_cluster.run_command("create_api_key", "peers", "--scopes", "events:write", "--quiet").strip()
    host, port = shared_cluster.web_url.removeprefix("http://").split(":")
    roots = {"web": [shared_cluster.application("web").pid]}
    target = PeerTarget((host, int(port)), "/v1/events", 202, None, 2, roots, token)
    with closing(ServiceCounts(shared_cluster)) as counts:
        runs["service"] = measure(target, count=counts.count, count_received=counts.count_received)
    assert {(run.sent_count, run.repeated_count) for run in runs.values()} == {(EVENTS, REPEATED)}
    assert {name: (run.counted, run.counted_twice) for name, run in runs.items()} == {
        "/events": (EVENTS, REPEATED),
        "/batches": (EVENTS, REPEATED),
        "/checked-batches": (EVENTS - REPEATED, 0),
        "floor": (EVENTS, REPEATED),
        "service": (EVENTS - REPEATED, 0),
    }
