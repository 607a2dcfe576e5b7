"""Reads the catalogue: one entry by id, and the changes after a revision."""

from dataclasses import dataclass

from django.db.models import Manager, Max

from viewcounter.catalogue.errors import NotInCatalogue
from viewcounter.catalogue.models import Channel, Video


def get_channel(channel_id: str) -> Channel:
    """Raises NotInCatalogue."""
    channel: Channel | None = Channel.objects.filter(pk=channel_id).first()
    if channel is None:
        raise NotInCatalogue(f"no channel {channel_id!r}")
    return channel


def get_video(video_id: str) -> Video:
    """Raises NotInCatalogue."""
    video: Video | None = Video.objects.filter(pk=video_id).first()
    if video is None:
        raise NotInCatalogue(f"no video {video_id!r}")
    return video


@dataclass(frozen=True, slots=True)
class Changes:
    """All changes after the given revision, up to and including `revision`."""

    revision: int
    channels: tuple[Channel, ...]
    videos: tuple[Video, ...]

    def __len__(self) -> int:
        return len(self.channels) + len(self.videos)


def read_changes(*, after: int, batch: int) -> Changes:
    """The next changes, at most `batch` of them, in the order of their revisions; `after` itself when there are none.

    The last revision is read first: a change that becomes visible between the queries has a higher revision and is
    read by the next call.
    """
    newest = read_newest_revision()
    new = {"revision__gt": after, "revision__lte": newest}
    channels = list(Channel.objects.filter(**new).order_by("revision")[:batch])
    videos = list(Video.objects.filter(**new).order_by("revision")[:batch])
    revisions = sorted(entry.revision for entry in [*channels, *videos])[:batch]
    revision = revisions[-1] if revisions else after
    return Changes(
        revision=revision,
        channels=tuple(c for c in channels if c.revision <= revision),
        videos=tuple(v for v in videos if v.revision <= revision),
    )


def count_changes(*, after: int) -> int:
    """Number of entries that have changed after a revision."""
    new = {"revision__gt": after}
    count: int = Channel.objects.filter(**new).count() + Video.objects.filter(**new).count()
    return count


def read_newest_revision() -> int:
    """The highest revision that is visible; 0 for an empty catalogue."""
    return max(_read_newest(Channel.objects), _read_newest(Video.objects))


def _read_newest(rows: Manager[Channel] | Manager[Video]) -> int:
    newest = rows.aggregate(newest=Max("revision"))["newest"]
    return newest or 0
