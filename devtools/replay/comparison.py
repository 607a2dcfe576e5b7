"""Reads the counts of the service through the client library and names every difference from the truth."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from viewcounter_client import queries
from viewcounter_client.queries import CountsAnswer, Query, StatsAnswer

from devtools.replay.errors import DeadlinePassed, ServiceRefused
from devtools.replay.service import COUNTS_MAX_VIDEOS, ReplayTarget, split_pages
from devtools.replay.timeline import EVENT_TYPES
from devtools.replay.truth import Counts, TruthSubject

POLL_INTERVAL_SECONDS = 0.2
SECONDS_PER_HOUR = 3600

A = TypeVar("A", CountsAnswer, StatsAnswer)


@dataclass(frozen=True, slots=True)
class WrongCount:
    """`hour` is None for an all-time count. Both counts are increases since before the run."""

    video_id: str
    event_type: str
    hour: datetime | None
    expected: int
    actual: int


def read_counts(service: ReplayTarget, subject: TruthSubject, *, until: datetime, threads: int) -> Counts:
    """The counts of the service, when they hold every event acknowledged before `until`. Raises DeadlinePassed."""
    return Counts(
        totals=read_totals(service, subject, until=until, threads=threads),
        hours=read_hours(service, subject, until=until, threads=threads),
    )


def read_totals(service: ReplayTarget, subject: TruthSubject, *, until: datetime, threads: int) -> NDArray[np.int64]:
    def read_page(page: list[str]) -> CountsAnswer:
        return _query_until_complete(queries.counts(*page), service=service, until=until)

    with ThreadPoolExecutor(threads, thread_name_prefix="replay-reader") as pool:
        answers = list(pool.map(read_page, split_pages(subject.videos, size=COUNTS_MAX_VIDEOS)))
    counts = {video.video_id: video.counts for answer in answers for video in answer.videos}
    missing = [video for video in subject.videos if video not in counts]
    if missing:
        raise ServiceRefused(f"no counts for {len(missing)} of the requested videos, {missing[0]} among them")
    return np.array([[counts[video].get(kind, 0) for kind in EVENT_TYPES] for video in subject.videos], dtype=np.int64)


def read_hours(service: ReplayTarget, subject: TruthSubject, *, until: datetime, threads: int) -> NDArray[np.int64]:
    start, end = to_time(subject.hours.start), to_time(subject.hours.stop)

    def read_series(series: tuple[str, str]) -> list[int]:
        video_id, event_type = series
        query = queries.stats(video_id=video_id, event_type=event_type, start_time=start, end_time=end, interval="hour")
        return _count_by_hour(_query_until_complete(query, service=service, until=until), hours=subject.hours)

    with ThreadPoolExecutor(threads, thread_name_prefix="replay-reader") as pool:
        counts = list(pool.map(read_series, product(subject.close_videos, EVENT_TYPES)))
    return np.array(counts, dtype=np.int64).reshape(len(subject.close_videos), len(EVENT_TYPES), len(subject.hours))


def find_wrong_counts(subject: TruthSubject, *, expected: Counts, actual: Counts) -> list[WrongCount]:
    """All counts that differ, totals first."""
    wrong = [
        WrongCount(
            video_id=subject.videos[video],
            event_type=EVENT_TYPES[kind],
            hour=None,
            expected=int(expected.totals[video, kind]),
            actual=int(actual.totals[video, kind]),
        )
        for video, kind in np.argwhere(expected.totals != actual.totals)
    ]
    wrong += [
        WrongCount(
            video_id=subject.close_videos[video],
            event_type=EVENT_TYPES[kind],
            hour=to_time(subject.hours[hour]),
            expected=int(expected.hours[video, kind, hour]),
            actual=int(actual.hours[video, kind, hour]),
        )
        for video, kind, hour in np.argwhere(expected.hours != actual.hours)
    ]
    return wrong


def to_time(hour: int) -> datetime:
    """The instant of hours since 1970 UTC."""
    return datetime.fromtimestamp(hour * SECONDS_PER_HOUR, UTC)


def _query_until_complete(query: Query[A], *, service: ReplayTarget, until: datetime) -> A:
    """Repeat the query until the answer is complete. Each answer may come from another replica: check every one."""
    while True:
        answer = service.query(query)
        meta = answer.meta
        if not meta.partial and meta.complete_until >= until:
            return answer
        if time.monotonic() > service.deadline or service.stop.wait(POLL_INTERVAL_SECONDS):
            missing = f", and lack {', '.join(meta.missing)}" if meta.partial else ""
            raise DeadlinePassed(f"answers are complete until {meta.complete_until}, not until {until}{missing}")


def _count_by_hour(answer: StatsAnswer, *, hours: range) -> list[int]:
    """Buckets without events may be left out; one outside the requested hours is an error."""
    counts = dict.fromkeys(hours, 0)
    for bucket in answer.series:
        hour, rest = divmod(int(bucket.start.timestamp()), SECONDS_PER_HOUR)
        if hour not in counts or rest:
            raise ServiceRefused(f"requested hours {to_time(hours.start)} to {to_time(hours.stop)}, got {bucket.start}")
        counts[hour] += round(bucket.value or 0)
    return list(counts.values())
