"""Events on disk while the service cannot be reached: parts of whole lines, each stored once it is fsynced.

A part is written under another name and renamed, so a crash leaves either a whole part or none. It is removed when
the service has all its events; a crash in between sends them twice, and their ids make that harmless.
"""

import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path

from viewcounter_client.errors import SpoolInUse
from viewcounter_client.events import PendingEvent, read_event

_SUFFIX = ".ndjson"


class SpoolFull(OSError):
    """The spool has reached `spool_max_bytes`."""


class Spool:
    """One client's directory; a lock file excludes other clients. Not thread-safe."""

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        """Raises SpoolInUse, or OSError if the directory cannot be used."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._max_bytes = max_bytes
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise SpoolInUse(str(directory)) from None
        for unfinished in directory.glob("*.part"):
            unfinished.unlink()
        self._parts = sorted(directory.glob(f"*{_SUFFIX}"))
        self._bytes = sum(part.stat().st_size for part in self._parts)
        self._number = 0

    def count_events(self) -> int:
        """The number of events left by an earlier client; reads every part."""
        return sum(part.read_bytes().count(b"\n") for part in self._parts)

    def append(self, events: Sequence[PendingEvent]) -> None:
        """Durable when this returns. Raises OSError, SpoolFull among them; then nothing was added."""
        content = _encode(events)
        if self._bytes + len(content) > self._max_bytes:
            raise SpoolFull(f"{self._directory} holds {self._bytes} bytes of {self._max_bytes}")
        self._number += 1
        part = self._directory / f"{time.time_ns():020d}-{self._number:06d}{_SUFFIX}"
        self._write(part, content)
        self._parts.append(part)
        self._bytes += len(content)

    def read_oldest(self) -> tuple[list[PendingEvent], int]:
        """The events of the oldest part, and the number of its damaged lines."""
        events: list[PendingEvent] = []
        damaged = 0
        for line in self._parts[0].read_bytes().splitlines():
            try:
                events.append(read_event(line))
            except ValueError:
                damaged += 1
        return events, damaged

    def replace_oldest(self, events: Sequence[PendingEvent]) -> None:
        """Replaces the oldest part by these events; without any it is removed."""
        part = self._parts[0]
        size = part.stat().st_size
        if events:
            content = _encode(events)
            self._write(part, content)
            self._bytes += len(content) - size
        else:
            part.unlink()
            del self._parts[0]
            self._bytes -= size

    def close(self) -> None:
        os.close(self._lock)

    def _write(self, part: Path, content: bytes) -> None:
        unfinished = part.with_suffix(".part")
        try:
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(part)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _encode(events: Sequence[PendingEvent]) -> bytes:
    return b"".join(event.body + b"\n" for event in events)
