"""The copies of the catalogue on a shard: written here and nowhere else, always towards the newer revision."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import scalar_row

from viewcounter.storage.named_sql import load_queries

_statements = load_queries("catalogue.sql")


@dataclass(frozen=True, slots=True)
class ChannelCopy:
    channel_id: str
    title: str
    revision: int


@dataclass(frozen=True, slots=True)
class VideoCopy:
    video_id: str
    partition: int
    channel_id: str | None
    title: str
    revision: int


@dataclass(frozen=True, slots=True)
class CatalogueChanges:
    """What one shard misses, up to and including `revision`.

    Invariant: every channel that one of `videos` names stands in `channels_of_videos`.
    """

    revision: int
    changed_channels: Sequence[ChannelCopy]
    channels_of_videos: Sequence[ChannelCopy]
    videos: Sequence[VideoCopy]


def read_catalogue_cursor(connection: psycopg.Connection[Any], *, partitions: Collection[int]) -> int:
    """The revision up to which every one of `partitions` has the catalogue; 0 for one that was never copied."""
    with connection.cursor(row_factory=scalar_row) as cursor:
        cursor.execute(_statements["read_catalogue_cursor"].text, {"partitions": sorted(partitions)})
        revision: int | None = cursor.fetchone()
        return revision or 0


def apply_catalogue_changes(
    connection: psycopg.Connection[Any], changes: CatalogueChanges, *, partitions: Collection[int]
) -> None:
    """Write the copies and move the cursor of `partitions`, within the caller's transaction. May run twice."""
    connection.execute(_statements["update_channels"].text, _channel_columns(changes.changed_channels))
    connection.execute(_statements["upsert_channels"].text, _channel_columns(changes.channels_of_videos))
    videos = sorted(changes.videos, key=lambda video: video.video_id)
    connection.execute(
        _statements["upsert_videos"].text,
        {
            "video_ids": [v.video_id for v in videos],
            "partitions": [v.partition for v in videos],
            "channel_ids": [v.channel_id for v in videos],
            "titles": [v.title for v in videos],
            "revisions": [v.revision for v in videos],
        },
    )
    connection.execute(
        _statements["advance_catalogue_cursor"].text,
        {"partitions": sorted(partitions), "revision": changes.revision},
    )


def _channel_columns(channels: Sequence[ChannelCopy]) -> dict[str, list[Any]]:
    ordered = sorted(channels, key=lambda channel: channel.channel_id)
    return {
        "channel_ids": [c.channel_id for c in ordered],
        "titles": [c.title for c in ordered],
        "revisions": [c.revision for c in ordered],
    }
