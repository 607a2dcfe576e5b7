"""One function over one event type of one video: over all time, over a period, and by bucket of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from clusterproxy.proxy import ClusterProxy
from configservice.topology import EventType
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.functions import Aggregate, Function, Number, evaluate, merge
from viewcounter.queries.meta import Meta, Source, build_meta
from viewcounter.queries.ranges import Interval, Period, check_buckets, enumerate_buckets
from viewcounter.queries.reading import VideoRead, get_event_type, read_video
from viewcounter.storage.reads import BUCKETS_OF_VIDEO, RANGE_OF_VIDEO, TOTAL_OF_VIDEO


class Fill(StrEnum):
    """What a series does with buckets in which nothing happened."""

    NONE = "none"
    ZERO = "zero"

    @classmethod
    def parse(cls, text: str) -> "Fill":
        try:
            return cls(text)
        except ValueError:
            allowed = ", ".join(cls)
            raise InvalidQuery("fill", "unknown_fill", f"must be one of: {allowed}") from None


@dataclass(frozen=True, slots=True)
class StatsQuestion:
    video_id: str
    event_type: str
    function: Function
    period: Period
    interval: Interval | None = None
    fill: Fill = Fill.NONE


@dataclass(frozen=True, slots=True)
class Bucket:
    """`start` is the bucket's own edge, also where the period begins within it."""

    start: datetime
    value: Number | None


@dataclass(frozen=True, slots=True)
class StatsAnswer:
    """`value` is of the whole period. `series` is None without an interval."""

    question: StatsQuestion
    value: Number | None
    series: tuple[Bucket, ...] | None
    meta: Meta


def get_stats(cluster: ClusterProxy, question: StatsQuestion, *, max_buckets: int, now: datetime) -> StatsAnswer:
    """Raises InvalidQuery for an unknown event type and for a series that has an open edge or too many buckets."""
    event_type = get_event_type(cluster.topology, question.event_type)
    if question.interval is not None:
        check_buckets(question.period, question.interval, max_buckets=max_buckets)
        return _get_series(cluster, question, question.interval, event_type=event_type, now=now)
    read = _read_value(cluster, question, event_type=event_type)
    source = Source.TOTAL if question.period.is_all_time else Source.MINUTE
    return StatsAnswer(
        question=question,
        value=evaluate(question.function, Aggregate.from_row(read.rows[0])),
        series=None,
        meta=build_meta([read.seen], source=source, now=now),
    )


def _read_value(cluster: ClusterProxy, question: StatsQuestion, *, event_type: EventType) -> VideoRead:
    if question.period.is_all_time:
        params = {"event_type_id": event_type.id}
        return read_video(cluster, TOTAL_OF_VIDEO, video_id=question.video_id, params=params)
    return read_video(
        cluster,
        RANGE_OF_VIDEO,
        video_id=question.video_id,
        params={"event_type_id": event_type.id, "start": question.period.start, "end": question.period.end},
    )


def _get_series(
    cluster: ClusterProxy, question: StatsQuestion, interval: Interval, *, event_type: EventType, now: datetime
) -> StatsAnswer:
    read = read_video(
        cluster,
        BUCKETS_OF_VIDEO,
        video_id=question.video_id,
        params={
            "event_type_id": event_type.id,
            "start": question.period.start,
            "end": question.period.end,
            "stride": interval.width,
        },
    )
    found: dict[datetime, Aggregate] = {}
    for row in read.rows:
        aggregate = Aggregate.from_row(row)
        if aggregate is not None:
            found[row["bucket"].astimezone(UTC)] = aggregate
    starts = found if question.fill is Fill.NONE else enumerate_buckets(question.period, interval)
    return StatsAnswer(
        question=question,
        value=evaluate(question.function, merge(found.values())),
        series=_build_series(starts, found, function=question.function),
        meta=build_meta([read.seen], source=Source.MINUTE, now=now),
    )


def _build_series(
    starts: Iterable[datetime], found: Mapping[datetime, Aggregate], *, function: Function
) -> tuple[Bucket, ...]:
    return tuple(Bucket(start=start, value=evaluate(function, found.get(start))) for start in starts)
