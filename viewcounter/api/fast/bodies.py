"""Counts of one or of many videos as rendered bodies: from the memory of this process, else read in a few threads."""

import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime

from clusterproxy.errors import TooManyWaiting
from runtime.singleflight import AsyncSingleFlight, TooManyFlights
from shardproxy.errors import DeadlineExceeded
from viewcounter.api.fast.answers import Body, build_counts_body, build_many_counts_body
from viewcounter.api.fast.rendered import RenderedBodies
from viewcounter.cache.process import find_read_cache
from viewcounter.cluster import get_cluster
from viewcounter.config import Config
from viewcounter.queries.counts import get_counts, get_counts_of_videos


class CountsBodies:
    """Lives on one event loop; opens no connection before its first query. Every method returns a body with its origin
    for metrics: `kept` in this process, or `read`. Raises what the query raises, TooManyWaiting and DeadlineExceeded.

    Invariant: at most one thread executes a query at a time, and at most `hot_read_max_waiting` queries are open.
    """

    def __init__(self, config: Config) -> None:
        self._max_videos = config.api.counts_query_max_videos
        self._read_seconds = config.hot_read.seconds
        self._rendered = RenderedBodies(max_bodies=config.hot_read.max_bodies)
        self._flights: AsyncSingleFlight[Body] = AsyncSingleFlight(
            "hot-reads",
            max_threads=config.hot_read.threads,
            max_flights=config.hot_read.max_waiting,
            timeout_seconds=config.hot_read.seconds,
        )

    def close(self) -> None:
        self._rendered.close()
        self._flights.close()

    async def find(self, video_id: str) -> tuple[Body, str]:
        body = self._rendered.find(video_id)
        if body is not None:
            return body, "kept"
        return await self._read(video_id, lambda: _read_counts(video_id)), "read"

    async def find_many(self, video_ids: list[str]) -> tuple[Body, str]:
        body = self._rendered.find_many(video_ids)
        if body is not None:
            return body, "kept"
        return await self._read(tuple(video_ids), lambda: _read_many_counts(video_ids, self._max_videos)), "read"

    async def _read(self, key: Hashable, read: Callable[[], Body]) -> Body:
        deadline_at = time.monotonic() + self._read_seconds
        try:
            return await self._flights.run(key, lambda: _read_in_time(read, deadline_at))
        except TooManyFlights as error:
            raise TooManyWaiting from error
        except TimeoutError as error:
            raise DeadlineExceeded("no answer before the deadline", instance="fast reads") from error


def _read_in_time(read: Callable[[], Body], deadline_at: float) -> Body:
    """In a thread. A read that got its thread too late is not executed: its client no longer waits for it."""
    if time.monotonic() >= deadline_at:
        raise DeadlineExceeded("no thread was free before the deadline", instance="fast reads")
    return read()


def _read_counts(video_id: str) -> Body:
    answer = get_counts(get_cluster(), video_id=video_id, now=datetime.now(UTC), cache=find_read_cache())
    return build_counts_body(answer)


def _read_many_counts(video_ids: list[str], max_videos: int) -> Body:
    answer = get_counts_of_videos(
        get_cluster(), video_ids=video_ids, max_videos=max_videos, now=datetime.now(UTC), cache=find_read_cache()
    )
    return build_many_counts_body(answer)
