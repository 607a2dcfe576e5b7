"""Refreshes the local copy of the catalogue from the control database, by revision; in one process of each host.

The process that holds the lock file refreshes; when it dies, the kernel releases the lock and another process takes it.
Runs in a thread of its own, so that a control database that is down or slow never delays a drain.
"""

import fcntl
import logging
import sqlite3
from pathlib import Path
from typing import IO

from django.db import Error as DatabaseError
from django.db import close_old_connections

from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog
from viewcounter.catalogue.local_copy import KnownChannel, KnownVideo, LocalCopy
from viewcounter.catalogue.lookup import read_changes, read_newest_revision
from viewcounter.catalogue.models import Channel

logger = logging.getLogger(__name__)


def refresh_local_copy(copy: LocalCopy, *, batch: int) -> int:
    """Copy the next changes, at most `batch`; returns their number, 0 when the copy is up to date.

    A copy that is ahead of the catalogue is one of another catalogue, or of a state before a restore: it is deleted.
    Raises django's database errors and sqlite3.Error.
    """
    copied = copy.get_revision()
    if read_newest_revision() < copied:
        logger.warning("the local catalogue is ahead of the control database; it is filled again")
        copy.discard()
        copied = 0
    changes = read_changes(after=copied, batch=batch)
    if not changes:
        return 0
    # Also channels that are not among the changes, or have changed since: a video is stored with its channel.
    named = Channel.objects.in_bulk({video.channel_id for video in changes.videos if video.channel_id is not None})
    copy.put(
        channels=[_build_channel(channel) for channel in changes.channels],
        videos=[
            KnownVideo(
                video.video_id,
                None if video.channel_id is None else _build_channel(named[video.channel_id]),
                video.title,
                video.revision,
            )
            for video in changes.videos
        ],
        revision=changes.revision,
    )
    return len(changes)


def _build_channel(channel: Channel) -> KnownChannel:
    return KnownChannel(channel.channel_id, channel.title, channel.revision)


class Refresher:
    """A daemon thread. Invariant: it writes to the copy only while it holds the lock file."""

    def __init__(self, copy: LocalCopy, *, lock_path: Path, interval_seconds: float, batch: int) -> None:
        self._copy = copy
        self._lock_path = lock_path
        self._batch = batch
        self._lock_file: IO[str] | None = None
        self._outage = OutageLog(
            logger,
            failed="cannot refresh the local catalogue, titles of new videos may be delayed",
            recovered="the local catalogue is refreshed again",
        )
        self._task = PeriodicTask(
            "catalogue-refresh", self._refresh, interval_seconds=interval_seconds, on_end=self._release_lock
        )

    @property
    def is_refreshing(self) -> bool:
        """Whether this process holds the lock and refreshes for its host."""
        return self._lock_file is not None

    def start(self) -> None:
        self._task.start()

    def close(self, *, timeout_seconds: float) -> None:
        """Stop and let another process refresh."""
        self._task.stop(timeout_seconds=timeout_seconds)

    def _refresh(self) -> None:
        try:
            if not self._try_lock():
                return
            while not self._task.is_stopping and refresh_local_copy(self._copy, batch=self._batch):
                pass
        except (DatabaseError, sqlite3.Error, OSError) as error:
            self._outage.report_failure(error)
        else:
            self._outage.report_success()
        finally:
            close_old_connections()  # no request ends in this thread, so Django would never close it

    def _try_lock(self) -> bool:
        if self._lock_file is None:
            self._lock_path.parent.mkdir(parents=True, exist_ok=True)
            lock_file = self._lock_path.open("a")
            try:
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock_file.close()
                return False
            self._lock_file = lock_file
        return True

    def _release_lock(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()
