"""Rendered bodies of cache entries, ready to be sent.

The read cache alone decides how long an entry may be used. While it has the same entry for a video, and the topology
is the same, all bytes of the response but the id of the request are the same.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from configservice.topology.model import Topology
from runtime.metrics import CACHE_READS
from viewcounter.api.fast.answers import Body, build_counts_body, build_many_counts_body
from viewcounter.cache.memory import CacheEntry
from viewcounter.cache.process import find_read_cache
from viewcounter.cache.read_cache import Origin
from viewcounter.cluster import get_cluster
from viewcounter.ingest.metrics import RequestMeter
from viewcounter.queries.counts import build_cached_counts, peek_counts, peek_counts_of_videos

PEEKED_VIDEOS_MAX = 32
"""Longer lists are rendered in a thread: it takes milliseconds, which would hold up all other requests."""


class _Rendered(NamedTuple):
    """`body` of `entry`, whose columns have the names of `topology`."""

    entry: CacheEntry
    topology: Topology
    body: Body


class RenderedBodies:
    """For one event loop; never waits. Holds at most `max_bodies`, then drops all: they are valid for a second."""

    def __init__(self, *, max_bodies: int) -> None:
        self._max_bodies = max_bodies
        self._rendered: dict[str, _Rendered] = {}
        self._meter = RequestMeter(CACHE_READS)

    def close(self) -> None:
        self._meter.publish()

    def find(self, video_id: str) -> Body | None:
        """Counts of one video, if this process has a fresh entry. Raises NoTopology."""
        cache = find_read_cache()
        if cache is None:
            return None
        topology, now = get_cluster().topology, datetime.now(UTC)
        entry = peek_counts(video_id, now=now, cache=cache)
        if entry is None:
            return None
        self._meter.count(Origin.PROCESS)
        rendered = self._rendered.get(video_id)
        if rendered is None or rendered.entry is not entry or rendered.topology is not topology:
            body = build_counts_body(build_cached_counts(topology, video_id, entry, now=now))
            if len(self._rendered) >= self._max_bodies:
                self._rendered.clear()
            rendered = self._rendered[video_id] = _Rendered(entry, topology, body)
        return rendered.body

    def find_many(self, video_ids: list[str]) -> Body | None:
        """Counts of all videos, if this process has fresh entries of all, and they are few. Raises NoTopology."""
        cache = find_read_cache()
        if cache is None or len(video_ids) > PEEKED_VIDEOS_MAX:
            return None
        topology, now = get_cluster().topology, datetime.now(UTC)
        answer = peek_counts_of_videos(topology, video_ids=video_ids, now=now, cache=cache)
        if answer is None:
            return None
        self._meter.count(Origin.PROCESS, by=len(answer.videos))
        return build_many_counts_body(answer)
