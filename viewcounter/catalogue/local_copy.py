"""The catalogue in an SQLite file on a worker's host, shared by its processes: flushes read titles without the network.

A copy by revision, like those on the shards: one process refreshes it, all read it, it survives restarts, and it
answers, stale, while the control database is down. It is never authoritative: a process that finds it damaged deletes
it, and the next refresh fills a new one. A reader that cannot read it finds no titles; new videos then get theirs some
seconds later.

Invariant: every channel that a video names is in the file, written in the same transaction as the video.
"""

import json
import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from viewcounter.storage.catalogue import CatalogueCopies, ChannelCopy, VideoCopy

logger = logging.getLogger(__name__)

BUSY_SECONDS = 0.2
"""Maximum wait of a reader for a lock, which is taken only while a file is created."""

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS channel (channel_id TEXT PRIMARY KEY, title TEXT NOT NULL, revision INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS video (
    video_id TEXT PRIMARY KEY, channel_id TEXT, title TEXT NOT NULL, revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS copied (through INTEGER NOT NULL);
INSERT INTO copied SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM copied);
PRAGMA user_version = 1;
COMMIT;
"""
_DAMAGES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR})
_FIND = """
SELECT v.video_id, v.title, v.revision, c.channel_id, c.title, c.revision
FROM json_each(?) AS wanted JOIN video AS v ON v.video_id = wanted.value
LEFT JOIN channel AS c ON c.channel_id = v.channel_id
"""
_PUT_CHANNEL = """
INSERT INTO channel VALUES (?, ?, ?) ON CONFLICT (channel_id)
DO UPDATE SET title = excluded.title, revision = excluded.revision WHERE revision < excluded.revision
"""
_PUT_VIDEO = """
INSERT INTO video VALUES (?, ?, ?, ?) ON CONFLICT (video_id)
DO UPDATE SET channel_id = excluded.channel_id, title = excluded.title, revision = excluded.revision
WHERE revision < excluded.revision
"""


@dataclass(frozen=True, slots=True)
class KnownChannel:
    channel_id: str
    title: str
    revision: int


@dataclass(frozen=True, slots=True)
class KnownVideo:
    video_id: str
    channel: KnownChannel | None
    title: str
    revision: int


class LocalCopy:
    """One file. Threads may share this object; each process creates its own, after forking."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    def find(self, video_ids: Sequence[str]) -> list[KnownVideo]:
        """The videos that are in the copy. Never raises: none are found in a copy that cannot be read."""
        with self._lock:
            try:
                rows = self._open().execute(_FIND, [json.dumps(video_ids)]).fetchall()
            except sqlite3.Error as error:
                logger.warning("cannot read titles from %s: %s", self.path, error)
                self._give_up(error)
                return []
        return [
            KnownVideo(video_id, None if channel[0] is None else KnownChannel(*channel), title, revision)
            for video_id, title, revision, *channel in rows
        ]

    def find_copies(self, partitions: Mapping[str, int]) -> CatalogueCopies:
        """Rows for the shard of the videos that are in the copy, given their partitions. Never raises and never waits
        for a server.

        A stale title does no lasting harm: a flush meets a new video only where the shard has not copied the catalogue
        as far as that video yet, so `catalogue.sync` still copies it and its channel, and the newer revision stays.
        """
        known = self.find(list(partitions))
        channels = {video.channel.channel_id: video.channel for video in known if video.channel is not None}
        return CatalogueCopies(
            channels=[ChannelCopy(c.channel_id, c.title, c.revision) for c in channels.values()],
            videos=[
                VideoCopy(
                    v.video_id, partitions[v.video_id], v.channel.channel_id if v.channel else None, v.title, v.revision
                )
                for v in known
            ],
        )

    def get_revision(self) -> int:
        """The last revision that has been copied. Raises sqlite3.Error."""
        with self._lock, self._giving_up_if_damaged():
            [(revision,)] = self._open().execute("SELECT through FROM copied").fetchall()
            return int(revision)

    def put(self, *, channels: Iterable[KnownChannel], videos: Iterable[KnownVideo], revision: int) -> None:
        """Store all changes up to `revision` in one transaction, unless a newer one is stored. Raises sqlite3.Error."""
        known = list(videos)
        named = [video.channel for video in known if video.channel is not None]
        with self._lock, self._giving_up_if_damaged(), self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_PUT_CHANNEL, [(c.channel_id, c.title, c.revision) for c in (*channels, *named)])
            connection.executemany(
                _PUT_VIDEO,
                [(v.video_id, v.channel.channel_id if v.channel else None, v.title, v.revision) for v in known],
            )
            connection.execute("UPDATE copied SET through = max(through, ?)", [revision])

    def discard(self) -> None:
        """Delete the file, for every process: each opens the next file by itself."""
        with self._lock:
            self._discard()

    def close(self) -> None:
        with self._lock:
            self._close()

    def _open(self) -> sqlite3.Connection:
        """A connection to the file that the path names now. Raises sqlite3.Error."""
        if self._connection is not None:
            if self._find_inode() == self._inode:
                return self._connection
            self._close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            # With WAL and synchronous = NORMAL a crash never damages the file; it may lose the last commits, which are
            # copied again.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            [(version,)] = connection.execute("PRAGMA user_version").fetchall()
            if version == 0:
                connection.executescript(_SCHEMA)
        except sqlite3.Error:
            self._inode = self._find_inode()
            connection.close()
            raise
        self._connection, self._inode = connection, self._find_inode()
        return connection

    @contextmanager
    def _giving_up_if_damaged(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self._give_up(error)
            raise

    def _give_up(self, error: sqlite3.Error) -> None:
        """Delete the damaged file, but only the one that was open: another process may have replaced it already."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGES and self._find_inode() == self._inode:
            logger.error("%s is damaged; it is deleted and filled again: %s", self.path, error)
            self._discard()

    def _discard(self) -> None:
        self._close()
        # This order: SQLite drops a write-ahead log that it finds beside an empty file, never one beside a full one.
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _find_inode(self) -> int:
        try:
            return self.path.stat().st_ino
        except FileNotFoundError:
            return 0
