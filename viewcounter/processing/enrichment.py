"""Titles for videos that a flush sees first, from the catalogue copy on this host.

Costs nothing while videos are known to the shard: only those that the flush has inserted are looked up, in a local
file. What the copy does not know is counted all the same, and `catalogue.sync` brings its title later. A stale
title does no lasting harm: a flush meets a new video only where the shard has not yet copied the catalogue as far as
that video, so the copying still comes to it and to its channel, and the newer revision stays.
"""

from collections.abc import Sequence

from runtime.metrics import VIDEOS_ENRICHED
from viewcounter.catalogue.local_copy import LocalCopy
from viewcounter.catalogue.refresh import Refresher
from viewcounter.config import Config
from viewcounter.storage.catalogue import CatalogueCopies, ChannelCopy, VideoCopy


class Enrichment:
    """The local copy and the thread that may refresh it; one a process."""

    def __init__(self, copy: LocalCopy, refresher: Refresher) -> None:
        self._copy = copy
        self._refresher = refresher

    @classmethod
    def start(cls, config: Config) -> "Enrichment":
        folder = config.state_dir / "catalogue"
        copy = LocalCopy(folder / "catalogue.sqlite3")
        refresher = Refresher(
            copy,
            lock_path=folder / "refresh.lock",
            interval_seconds=config.catalogue_interval_seconds,
            batch=config.catalogue_import_max_items,
        )
        refresher.start()
        return cls(copy, refresher)

    def find_copies(self, video_ids: Sequence[str], *, partition: int) -> CatalogueCopies:
        """What is known of them. Never raises and never waits for a server."""
        copies = build_copies(self._copy, video_ids, partition=partition)
        VIDEOS_ENRICHED.inc(len(copies.videos))
        return copies

    def close(self, *, timeout_seconds: float) -> None:
        self._refresher.close(timeout_seconds=timeout_seconds)
        self._copy.close()


def build_copies(copy: LocalCopy, video_ids: Sequence[str], *, partition: int) -> CatalogueCopies:
    known = copy.find(video_ids)
    channels = {video.channel.channel_id: video.channel for video in known if video.channel is not None}
    return CatalogueCopies(
        channels=[ChannelCopy(c.channel_id, c.title, c.revision) for c in channels.values()],
        videos=[
            VideoCopy(v.video_id, partition, v.channel.channel_id if v.channel else None, v.title, v.revision)
            for v in known
        ],
    )
