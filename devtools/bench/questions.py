"""The measured read queries, each as a few requests that repeat (cached) and as many different ones (fresh). Pure."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import cycle
from urllib.parse import urlencode

from devtools.bench.event_stream import VIDEOS
from devtools.bench.history import DAYS
from devtools.bench.read_report import COUNTS_BY_DJANGO

HOT_CONNECTIONS, DJANGO_CONNECTIONS, TOP_CONNECTIONS = 64, 8, 2
KEPT_VIDEOS = 200
BATCH_VIDEOS = 500
_SPREAD = 100
"""Number of lists of different lengths, all of about the same cost."""
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Request:
    """`body` None: a GET."""

    path: str
    body: str | None = None

    def encode(self, host: str, token: str) -> bytes:
        lines = [f"Host: {host}", f"Authorization: Bearer {token}", "Accept: */*"]
        if self.body is None:
            return "\r\n".join([f"GET {self.path} HTTP/1.1", *lines, "", ""]).encode()
        lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}", "", self.body]
        return "\r\n".join([f"POST {self.path} HTTP/1.1", *lines]).encode()


@dataclass(frozen=True, slots=True)
class Question:
    """`fresh`: so many different requests that, at `per_second`, none repeats while its answer is cached.

    `is_endless`: also at the highest possible rate. `connections`: of closed loops; more would only wait for each other
    in Django, and a shard sheds more reports than it has connections for.
    """

    name: str
    label: str
    kept: tuple[Request, ...]
    fresh: tuple[Request, ...]
    per_second: float
    is_endless: bool = True
    connections: int = DJANGO_CONNECTIONS


def build_request_stream(requests: Sequence[Request], *, host: str, token: str) -> Iterator[bytes]:
    """The encoded requests, repeated endlessly."""
    return cycle([request.encode(host, token) for request in requests])


def list_questions(now: datetime) -> tuple[Question, ...]:
    """For a history that ends at `now`, a minute edge."""
    rng = random.Random(1)  # noqa: S311 - the choice of videos is no secret
    videos = list(VIDEOS)
    rng.shuffle(videos)
    return (*_list_counts(videos), *_list_statistics(videos, now), *_list_tops(now), _build_batch(videos))


def _list_counts(videos: Sequence[str]) -> Iterator[Question]:
    def build(query: str) -> Callable[[str], Request]:
        return lambda video: Request(f"/v1/videos/{video}/counts{query}")

    yield _about("counts", "counts of a video", videos, build(""), per_second=500, connections=HOT_CONNECTIONS)
    by_django = build("?consistency=eventual")  # which the fast path leaves to the views
    yield _about(COUNTS_BY_DJANGO, "the same by Django", videos, by_django, per_second=50)


def _list_statistics(videos: Sequence[str], now: datetime) -> Iterator[Question]:
    def build(since: datetime, interval: str) -> Callable[[str], Request]:
        query = _encode(function="count", start_time=since, end_time=now, interval=interval)
        return lambda video: Request(f"/v1/videos/{video}/stats?{query}")

    today, hour = now.replace(hour=0, minute=0), now.replace(minute=0)
    yield _about("hour", "1 hour by the minute", videos, build(now - _HOUR, "minute"), per_second=50)
    yield _about("day", "24 hours by the hour", videos, build(hour - 24 * _HOUR, "hour"), per_second=50)
    yield _about("month", "30 days by the day", videos, build(today - 30 * _DAY, "day"), per_second=50)
    yield _about("year", "1 year by the day", videos, build(today - DAYS * _DAY, "day"), per_second=25)


def _about(
    name: str,
    label: str,
    videos: Sequence[str],
    build: Callable[[str], Request],
    *,
    per_second: float,
    connections: int = DJANGO_CONNECTIONS,
) -> Question:
    kept, fresh = (tuple(map(build, part)) for part in (videos[:KEPT_VIDEOS], videos[KEPT_VIDEOS:]))
    return Question(name, label, kept, fresh, per_second, connections=connections)


def _list_tops(now: datetime) -> Iterator[Question]:
    month: dict[str, datetime] = {"start_time": now.replace(hour=0, minute=0) - 30 * _DAY, "end_time": now}
    periods: tuple[tuple[str, str, dict[str, datetime], float], ...] = (
        ("top", "top 100 of all time", {}, 10),
        ("top_month", "top 100 of 30 days", month, 2),
    )
    for name, label, period, per_second in periods:
        kept, *fresh = (Request(f"/v1/top?{_encode(limit=limit, **period)}") for limit in (100, *_spread_around(100)))
        yield Question(name, label, (kept,), tuple(fresh), per_second, is_endless=False, connections=TOP_CONNECTIONS)


def _build_batch(videos: Sequence[str]) -> Question:
    kept, *fresh = (
        Request("/v1/counts/query", json.dumps({"video_ids": videos[start : start + BATCH_VIDEOS]}))
        for start in range(0, len(videos), BATCH_VIDEOS)
    )
    label = f"counts of {BATCH_VIDEOS} videos"
    return Question("batch", label, (kept,), tuple(fresh), 10, is_endless=False, connections=HOT_CONNECTIONS)


def _spread_around(limit: int) -> range:
    return range(limit - _SPREAD // 2, limit + _SPREAD // 2)


def _encode(**parameters: str | int | datetime) -> str:
    texts = {
        name: f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else str(value)
        for name, value in parameters.items()
    }
    return urlencode({"event_type": "view"} | texts)
