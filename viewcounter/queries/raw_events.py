"""Single events of one video, page by page, within the retention of raw events."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from clusterproxy.proxy import ClusterProxy
from viewcounter.events.message import VALUE_SCALE
from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.freshness import DEFAULT, ReadOptions
from viewcounter.queries.meta import Meta, Source
from viewcounter.queries.reading import build_video_read, get_event_type, read
from viewcounter.storage.raw import SLICE_OF_VIDEO, get_raw_start

RAW_MAX_LIMIT = 1000
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EventKey:
    """The key of one event in the order (occurred_at, event_id): a page begins after it."""

    occurred_at: datetime
    event_id: UUID


BEFORE_ALL = EventKey(BEGINNING, UUID(int=0))


@dataclass(frozen=True, slots=True)
class RawEventsQuery:
    """Events with start <= occurred_at < end, to the microsecond; an open side is None. `event_type` None: all."""

    video_id: str
    start: datetime | None
    end: datetime | None
    event_type: str | None
    limit: int
    after: EventKey = BEFORE_ALL


@dataclass(frozen=True, slots=True)
class SingleEvent:
    """`value` is in units."""

    event_id: UUID
    event_type: str
    occurred_at: datetime
    received_at: datetime
    value: int | float


@dataclass(frozen=True, slots=True)
class RawPage:
    """`next_key`: the next page begins after it, None on the last. Events received before `kept_from` are gone."""

    query: RawEventsQuery
    events: tuple[SingleEvent, ...]
    next_key: EventKey | None
    kept_from: datetime | None
    meta: Meta


def get_raw_page(
    cluster: ClusterProxy,
    query: RawEventsQuery,
    *,
    future_seconds: int,
    now: datetime,
    options: ReadOptions = DEFAULT,
) -> RawPage:
    """Raises InvalidQuery for a limit out of bounds, an end before the start or an unknown event type."""
    if not 1 <= query.limit <= RAW_MAX_LIMIT:
        raise InvalidQuery("limit", "out_of_range", f"must be 1 to {RAW_MAX_LIMIT}, not {query.limit}")
    start, end = query.start or BEGINNING, query.end or END
    if end < start:
        raise InvalidQuery("end_time", "end_before_start", "must not be before start_time")
    event_type = None if query.event_type is None else get_event_type(cluster.topology, query.event_type)
    request = build_video_read(
        cluster,
        SLICE_OF_VIDEO,
        {
            "event_type_id": None if event_type is None else event_type.id,
            # Events before the page's own start need not be scanned again.
            "start": max(start, query.after.occurred_at),
            "end": end,
            "future_seconds": future_seconds,
            "after_at": query.after.occurred_at,
            "after_id": query.after.event_id,
            "limit": query.limit + 1,
        },
        video_id=query.video_id,
        options=options,
    )
    reading = read(request, now=now)
    rows = [row for row in reading.rows if row["event_id"] is not None]
    page, has_more = rows[: query.limit], len(rows) > query.limit
    return RawPage(
        query=query,
        events=tuple(_build_event(row) for row in page),
        next_key=EventKey(page[-1]["occurred_at"], page[-1]["event_id"]) if has_more else None,
        kept_from=get_raw_start(reading.rows[0]["oldest_raw_day"], raw_since=reading.rows[0]["raw_since"]),
        meta=reading.build_meta(sources=[Source.RAW], now=now),
    )


def _build_event(row: dict[str, Any]) -> SingleEvent:
    units, rest = divmod(row["value"], VALUE_SCALE)
    return SingleEvent(
        event_id=row["event_id"],
        event_type=row["event_type"],
        occurred_at=row["occurred_at"].astimezone(UTC),
        received_at=row["received_at"].astimezone(UTC),
        value=row["value"] / VALUE_SCALE if rest else units,
    )
