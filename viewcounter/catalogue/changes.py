"""Every change of the catalogue, each with a revision of its own.

Copies follow the revisions: "all changes after the last one seen". With a bare sequence that loses changes: a
transaction that drew 7 may commit after one that drew 8, and a copy that has seen 8 never reads below it again.
Therefore a writer takes an advisory lock before it draws revisions and holds it until its transaction has ended.
PostgreSQL makes a commit visible before it releases the locks, so revisions become visible in the order in which they
were drawn, and a copy that sees revision n sees everything below n. Writers of the catalogue wait for each other; they
are rare, and counting does not wait for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection, transaction

from viewcounter.catalogue.errors import UnknownChannels
from viewcounter.catalogue.models import Channel, Video
from viewcounter.config import get_config

# Any number that no other advisory lock of the control database uses: "catalogu" in ASCII.
_REVISION_LOCK = int.from_bytes(b"catalogu", "big")


@dataclass(frozen=True, slots=True)
class ChannelEntry:
    channel_id: str
    title: str


@dataclass(frozen=True, slots=True)
class VideoEntry:
    video_id: str
    title: str
    channel_id: str | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """How many entries were new and how many differed from the stored ones; the others draw no revision."""

    created: int
    updated: int

    def __add__(self, other: "Changed") -> "Changed":
        return Changed(self.created + other.created, self.updated + other.updated)


def put_channel(entry: ChannelEntry) -> Changed:
    return put_catalogue(channels=[entry], videos=[])


def put_video(entry: VideoEntry) -> Changed:
    """Raises UnknownChannels for a channel that the catalogue does not have."""
    return put_catalogue(channels=[], videos=[entry])


def put_catalogue(*, channels: Sequence[ChannelEntry], videos: Sequence[VideoEntry]) -> Changed:
    """Insert or update the entries in one transaction; of two entries with one id the last wins. Idempotent.

    Raises UnknownChannels when a video names a channel that is neither in the catalogue nor among `channels`.
    """
    with transaction.atomic():
        _lock_revisions()
        changed = _put_channels({entry.channel_id: entry for entry in channels})
        return changed + _put_videos({entry.video_id: entry for entry in videos})


def _put_channels(entries: dict[str, ChannelEntry]) -> Changed:
    known = Channel.objects.in_bulk(list(entries))
    changed = [
        Channel(channel_id=entry.channel_id, title=entry.title)
        for entry in entries.values()
        if entry.channel_id not in known or known[entry.channel_id].title != entry.title
    ]
    for channel, revision in zip(changed, _draw_revisions(len(changed)), strict=True):
        channel.revision = revision
    Channel.objects.bulk_create(
        changed, update_conflicts=True, unique_fields=["channel_id"], update_fields=["title", "revision"]
    )
    updated = sum(channel.channel_id in known for channel in changed)
    return Changed(created=len(changed) - updated, updated=updated)


def _put_videos(entries: dict[str, VideoEntry]) -> Changed:
    _check_channels({entry.channel_id for entry in entries.values() if entry.channel_id is not None})
    known = Video.objects.in_bulk(list(entries))
    changed = [
        Video(video_id=entry.video_id, title=entry.title, channel_id=entry.channel_id)
        for entry in entries.values()
        if entry.video_id not in known or not _says(known[entry.video_id], entry)
    ]
    for video, revision in zip(changed, _draw_revisions(len(changed)), strict=True):
        video.revision = revision
    Video.objects.bulk_create(
        changed, update_conflicts=True, unique_fields=["video_id"], update_fields=["title", "channel", "revision"]
    )
    updated = sum(video.video_id in known for video in changed)
    return Changed(created=len(changed) - updated, updated=updated)


def _says(video: Video, entry: VideoEntry) -> bool:
    return bool(video.title == entry.title and video.channel_id == entry.channel_id)


def _check_channels(channel_ids: set[str]) -> None:
    known = Channel.objects.filter(pk__in=channel_ids).values_list("pk", flat=True)
    unknown = channel_ids.difference(known)
    if unknown:
        raise UnknownChannels(unknown)


def skip_revisions(*, through: int) -> None:
    """Later changes draw revisions above `through`: copies elsewhere have seen those up to there."""
    with transaction.atomic():
        _lock_revisions()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT setval('catalogue_revision', %s) FROM catalogue_revision WHERE last_value < %s",
                [through, through],
            )


def _lock_revisions() -> None:
    """Held until the transaction ends. Raises django's OperationalError after `catalogue_lock_seconds`."""
    wait_ms = f"{get_config().catalogue.lock_seconds * 1000:.0f}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [wait_ms])
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_REVISION_LOCK])


def _draw_revisions(count: int) -> list[int]:
    """The next `count` revisions, ascending. The caller holds the lock of `_lock_revisions`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('catalogue_revision') FROM generate_series(1, %s)", [count])
        return sorted(revision for (revision,) in cursor.fetchall())
