"""The catalogue's copies on a shard: only these statements write them, and never an older revision over a newer."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import scalar_row

from viewcounter.storage.named_sql import load_queries
from viewcounter.storage.partitions import lock_partitions_here

_statements = load_queries("catalogue.sql")

READ_LAST_REVISION = _statements["read_last_revision"]
"""No parameters. One row: revision, the highest of all copies here; 0 without any."""


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
class CatalogueCopies:
    """Invariant: every channel that one of `videos` names is in `channels`."""

    channels: Sequence[ChannelCopy]
    videos: Sequence[VideoCopy]


NO_COPIES = CatalogueCopies(channels=(), videos=())


@dataclass(frozen=True, slots=True)
class CatalogueChanges:
    """Changes that one shard lacks, up to and including `revision`.

    Invariant: every channel that one of `videos` names is in `channels_of_videos`.
    """

    revision: int
    changed_channels: Sequence[ChannelCopy]
    channels_of_videos: Sequence[ChannelCopy]
    videos: Sequence[VideoCopy]


def read_catalogue_cursor(connection: psycopg.Connection[Any], *, partitions: Collection[int]) -> int:
    """The revision up to which all of `partitions` have the catalogue; 0 if one of them was never copied."""
    with connection.cursor(row_factory=scalar_row) as cursor:
        cursor.execute(_statements["read_catalogue_cursor"].text, {"partitions": sorted(partitions)})
        revision: int | None = cursor.fetchone()
        return revision or 0


def apply_catalogue_changes(
    connection: psycopg.Connection[Any], changes: CatalogueChanges, *, epochs: Mapping[int, int]
) -> frozenset[int]:
    """Write the copies and advance the cursors of the partitions, within the caller's transaction. Idempotent.

    Returns the partitions written: those that this shard still owns at their epochs. The rows of a partition that has
    moved away are about to be deleted, and one that has just arrived has a cursor of its own.
    """
    partitions = lock_partitions_here(connection, epochs)
    connection.execute(_statements["update_channels"].text, _channel_columns(changes.changed_channels))
    connection.execute(_statements["upsert_channels"].text, _channel_columns(changes.channels_of_videos))
    videos = [video for video in changes.videos if video.partition in partitions]
    connection.execute(_statements["upsert_videos"].text, _video_columns(videos))
    connection.execute(
        _statements["advance_catalogue_cursor"].text,
        {"partitions": sorted(partitions), "revision": changes.revision},
    )
    return partitions


def write_copies(connection: psycopg.Connection[Any], copies: CatalogueCopies) -> None:
    """Titles and channels of videos that the caller's flush has inserted, within its transaction."""
    connection.execute(_statements["ensure_channels"].text, _channel_columns(copies.channels))
    connection.execute(_statements["upsert_videos"].text, _video_columns(copies.videos))


def _video_columns(videos: Sequence[VideoCopy]) -> dict[str, list[Any]]:
    ordered = sorted(videos, key=lambda video: video.video_id)
    return {
        "video_ids": [v.video_id for v in ordered],
        "partitions": [v.partition for v in ordered],
        "channel_ids": [v.channel_id for v in ordered],
        "titles": [v.title for v in ordered],
        "revisions": [v.revision for v in ordered],
    }


def _channel_columns(channels: Sequence[ChannelCopy]) -> dict[str, list[Any]]:
    ordered = sorted(channels, key=lambda channel: channel.channel_id)
    return {
        "channel_ids": [c.channel_id for c in ordered],
        "titles": [c.title for c in ordered],
        "revisions": [c.revision for c in ordered],
    }
