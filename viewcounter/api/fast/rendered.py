"""Answers that are ready to be sent, beside the rows that they were made from.

The rows stand in the process's memory of answers, which alone says how long they may be used. As long as it has the
same ones for a video, and the topology is the same, so is every byte of the answer but the request's own id.
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
"""Longer lists are put together in a thread: milliseconds of work, during which nobody else would be answered."""


class _Made(NamedTuple):
    """`body` is what `stored` is by `topology`."""

    stored: CacheEntry
    topology: Topology
    body: Body


class KeptBodies:
    """Lives on one event loop and never waits. Holds at most `max_bodies`, then begins anew: they last a second."""

    def __init__(self, *, max_bodies: int) -> None:
        self._max_bodies = max_bodies
        self._made: dict[str, _Made] = {}
        self._meter = RequestMeter(CACHE_READS)

    def close(self) -> None:
        self._meter.publish()

    def find(self, video_id: str) -> Body | None:
        """Counts of one video, if this process has kept them. Raises NoTopology."""
        cache = find_read_cache()
        if cache is None:
            return None
        topology, now = get_cluster().topology, datetime.now(UTC)
        stored = peek_counts(video_id, now=now, cache=cache)
        if stored is None:
            return None
        self._meter.count(Origin.PROCESS)
        made = self._made.get(video_id)
        if made is None or made.stored is not stored or made.topology is not topology:
            body = build_counts_body(build_cached_counts(topology, video_id, stored, now=now))
            if len(self._made) >= self._max_bodies:
                self._made.clear()
            made = self._made[video_id] = _Made(stored, topology, body)
        return made.body

    def find_many(self, video_ids: list[str]) -> Body | None:
        """Counts of all of them, if this process has kept them all and they are few. Raises NoTopology."""
        cache = find_read_cache()
        if cache is None or len(video_ids) > PEEKED_VIDEOS_MAX:
            return None
        topology, now = get_cluster().topology, datetime.now(UTC)
        answer = peek_counts_of_videos(topology, video_ids=video_ids, now=now, cache=cache)
        if answer is None:
            return None
        self._meter.count(Origin.PROCESS, by=len(answer.videos))
        return build_many_counts_body(answer)
