"""Steady posts and reads that use a fifth of one core in total."""

from devtools.drill.load import VIDEOS, LoadClient, LoadShape
from devtools.drill.reading import ReadClient
from devtools.localcluster import LocalCluster

BATCH_EVENTS = 50
EVERY_SECONDS = 0.1
READ_SECONDS = 0.05


def post_steadily(cluster: LocalCluster, key: str, *, seed: int, threads: int = 2) -> LoadClient:
    """Each client sends ten batches a second, so that at most instants a request is in flight."""
    shape = LoadShape(every_seconds=EVERY_SECONDS)
    return LoadClient(cluster.web_url, key, seed=seed, threads=threads, load_shape=shape, batch_events=BATCH_EVENTS)


def read_steadily(cluster: LocalCluster, key: str) -> ReadClient:
    return ReadClient(cluster.web_url, key, videos=VIDEOS, every_seconds=READ_SECONDS)
