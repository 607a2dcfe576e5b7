"""Questions and answers as plain data: `client.query(queries.counts("XpVt6Z1Gjjo"))`. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Meta:
    """Completeness of an answer: every event acknowledged before `complete_until` is in it.

    `stale`: kept from an earlier answer because a shard is down. `partial`: `missing` names what is left out.
    """

    complete_until: datetime
    as_of: datetime
    stale: bool
    partial: bool
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VideoCounts:
    """`counts` by event type, over all time."""

    video_id: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CountsAnswer:
    """In the order of the query."""

    videos: tuple[VideoCounts, ...]
    meta: Meta


@dataclass(frozen=True, slots=True)
class Bucket:
    start: datetime
    value: float | None


@dataclass(frozen=True, slots=True)
class StatsAnswer:
    """`start_time` and `end_time` are the effective period. `series` is empty unless the query has an interval."""

    start_time: datetime | None
    end_time: datetime | None
    value: float | None
    series: tuple[Bucket, ...]
    meta: Meta


@dataclass(frozen=True, slots=True)
class TopItem:
    video_id: str
    title: str | None
    value: float


@dataclass(frozen=True, slots=True)
class TopAnswer:
    """Highest first."""

    items: tuple[TopItem, ...]
    meta: Meta


@dataclass(frozen=True, slots=True)
class Query(Generic[Answer]):
    """`parse` raises KeyError, TypeError or ValueError for an answer of another service."""

    method: str
    path: str
    parameters: Mapping[str, str]
    body: Any
    parse: Callable[[Any], Answer]

    def after(self, positions: Mapping[int, str]) -> "Query[Answer]":
        """The same query; its answer includes the events up to these positions of the event log, by partition."""
        if not positions:
            return self
        text = ",".join(f"{partition}:{position}" for partition, position in sorted(positions.items()))
        return replace(self, parameters={**self.parameters, "min_position": text})


def counts(*video_ids: str) -> Query[CountsAnswer]:
    """Events of every type over all time, of up to 500 videos."""
    return Query("POST", "/v1/counts/query", {}, {"video_ids": list(video_ids)}, _parse_counts)


def stats(
    *,
    video_id: str | None = None,
    channel_id: str | None = None,
    event_type: str = "view",
    function: str = "count",
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    interval: str | None = None,
    tz: str | None = None,
    week_start: str | None = None,
) -> Query[StatsAnswer]:
    """One function over a period, and by interval, of a video or a channel. Raises ValueError unless one is given."""
    if (video_id is None) == (channel_id is None):
        raise ValueError("give either video_id or channel_id")
    kind, identity = ("videos", video_id) if video_id is not None else ("channels", channel_id)
    parameters = _choose(
        event_type=event_type,
        function=function,
        start_time=_format(start_time),
        end_time=_format(end_time),
        interval=interval,
        tz=tz,
        week_start=week_start,
    )
    return Query("GET", f"/v1/{kind}/{quote(str(identity), safe='')}/stats", parameters, None, _parse_stats)


def top(
    *,
    event_type: str = "view",
    function: str = "count",
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    limit: int = 10,
) -> Query[TopAnswer]:
    """The videos with the highest value, of all time or a period."""
    parameters = _choose(
        event_type=event_type,
        function=function,
        start_time=_format(start_time),
        end_time=_format(end_time),
        limit=str(limit),
    )
    return Query("GET", "/v1/top", parameters, None, _parse_top)


def _choose(**parameters: str | None) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value is not None}


def _format(at: datetime | None) -> str | None:
    if at is not None and at.utcoffset() is None:
        raise ValueError("times need a time zone")
    return None if at is None else at.isoformat()


def _parse_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _parse_meta(meta: Any) -> Meta:
    return Meta(
        complete_until=datetime.fromisoformat(meta["complete_until"]),
        as_of=datetime.fromisoformat(meta["as_of"]),
        stale=meta["stale"],
        partial=meta["partial"],
        missing=tuple(meta["missing"]),
    )


def _parse_counts(answer: Any) -> CountsAnswer:
    videos = tuple(VideoCounts(video["video_id"], dict(video["counts"])) for video in answer["videos"])
    return CountsAnswer(videos, _parse_meta(answer["meta"]))


def _parse_stats(answer: Any) -> StatsAnswer:
    return StatsAnswer(
        start_time=_parse_time(answer["start_time"]),
        end_time=_parse_time(answer["end_time"]),
        value=answer["value"],
        series=tuple(
            Bucket(datetime.fromisoformat(bucket["start"]), bucket["value"]) for bucket in answer.get("series", ())
        ),
        meta=_parse_meta(answer["meta"]),
    )


def _parse_top(answer: Any) -> TopAnswer:
    items = tuple(TopItem(item["video_id"], item["title"], item["value"]) for item in answer["items"])
    return TopAnswer(items, _parse_meta(answer["meta"]))
