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


class Meta(msgspec.Struct, frozen=True):
    """Every event acknowledged before `complete_until` is in the answer. `missing` names what a partial one lacks."""

    complete_until: datetime | None = None
    partial: bool = False
    missing: tuple[str, ...] = ()


class VideoCounts(msgspec.Struct, frozen=True):
    video_id: str
    counts: dict[str, int]


class CountsAnswer(msgspec.Struct, frozen=True):
    videos: tuple[VideoCounts, ...]
    meta: Meta


class Bucket(msgspec.Struct, frozen=True):
    start: datetime
    value: float | None


class SeriesAnswer(msgspec.Struct, frozen=True):
    series: tuple[Bucket, ...]
    meta: Meta


class TopVideo(msgspec.Struct, frozen=True):
    video_id: str
    value: float
    title: str | None = None


class TopAnswer(msgspec.Struct, frozen=True):
    items: tuple[TopVideo, ...]
    meta: Meta
