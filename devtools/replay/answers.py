"""What the service answers, as far as a replay reads it."""

from datetime import datetime

import msgspec


class RefusedItem(msgspec.Struct, frozen=True):
    index: int
    code: str
    message: str = ""
    field: str | None = None
    retryable: bool = False


class PostAnswer(msgspec.Struct, frozen=True):
    """`positions` are where the accepted events stand in the log, by partition, each written `ms-seq`."""

    accepted: int
    rejected: int
    items: tuple[RefusedItem, ...] = ()
    positions: dict[str, str] = {}


class AnsweredMeta(msgspec.Struct, frozen=True):
    """Every event acknowledged before `complete_until` is in the answer. `missing` names what a partial one lacks."""

    complete_until: datetime | None = None
    partial: bool = False
    missing: tuple[str, ...] = ()


class AnsweredVideoCounts(msgspec.Struct, frozen=True):
    video_id: str
    counts: dict[str, int]


class AnsweredCounts(msgspec.Struct, frozen=True):
    videos: tuple[AnsweredVideoCounts, ...]
    meta: AnsweredMeta


class AnsweredBucket(msgspec.Struct, frozen=True):
    start: datetime
    value: float | None


class SeriesAnswer(msgspec.Struct, frozen=True):
    series: tuple[AnsweredBucket, ...]
    meta: AnsweredMeta


class TopVideo(msgspec.Struct, frozen=True):
    video_id: str
    value: float
    title: str | None = None


class AnsweredTop(msgspec.Struct, frozen=True):
    items: tuple[TopVideo, ...]
    meta: AnsweredMeta
