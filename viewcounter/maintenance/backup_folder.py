"""The folder of control database dumps: a manifest beside each dump, files of aborted backups, retention.

Invariant: a dump gets its name last, when it is complete and its manifest is on disk. Both are readable by their owner
only: a dump holds password hashes and digests of API keys.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

DUMP = ".dump"
PARTIAL = ".partial"
MANIFEST = ".json"
_CLUSTER_CHARACTERS = 8
"""Characters of the cluster id in a file name, so that clusters may share a folder."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Describes one dump. `row_counts` by table, of the snapshot that was dumped; `verified_at`: when the dump was
    restored into a scratch database and found to hold this epoch and these rows, None if it was not."""

    taken_at: datetime
    cluster_id: str
    epoch: int
    size_bytes: int
    sha256: str
    row_counts: Mapping[str, int]
    verified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Backup:
    """A complete dump with its manifest."""

    path: Path
    manifest: Manifest

    @property
    def is_verified(self) -> bool:
        return self.manifest.verified_at is not None


def list_backups(folder: Path, *, cluster_id: str) -> list[Backup]:
    """The complete backups of the cluster, oldest first; none if the folder does not exist. Raises OSError.

    A manifest that cannot be read counts as missing: its dump cannot be verified.
    """
    found = []
    for path in folder.glob(f"{_format_prefix(cluster_id)}*{MANIFEST}"):
        with suppress(msgspec.DecodeError, FileNotFoundError):
            manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
            dump = path.with_suffix(DUMP)
            if manifest.cluster_id == cluster_id and dump.is_file():
                found.append(Backup(dump, manifest))
    return sorted(found, key=lambda backup: backup.manifest.taken_at)


def create_partial(folder: Path, *, cluster_id: str, epoch: int, now: datetime) -> Path:
    """An empty file of mode 0600 to dump into. Makes the folder, but not the one above it, which may be a mount that is
    missing. Raises OSError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{_format_prefix(cluster_id)}{now.astimezone(UTC):%Y%m%dT%H%M%S%fZ}-epoch{epoch}{DUMP}{PARTIAL}"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


def complete(partial: Path, manifest: Manifest) -> Backup:
    """Write the manifest, then give the dump its name. Raises OSError."""
    _sync(partial)
    backup = write_manifest(Backup(partial.with_suffix(""), manifest))
    partial.rename(backup.path)
    _sync(backup.path.parent)
    return backup


def write_manifest(backup: Backup) -> Backup:
    """Atomic: a reader finds the old or the new one. Raises OSError."""
    path = backup.path.with_suffix(MANIFEST)
    written = path.with_suffix(f"{MANIFEST}{PARTIAL}")
    with os.fdopen(os.open(written, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(backup.manifest)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    written.rename(path)
    _sync(path.parent)
    return backup


def remove_incomplete(folder: Path, *, cluster_id: str) -> None:
    """Files of aborted backups. Only under the lock of backups: they may be of one in progress. Raises OSError."""
    prefix = _format_prefix(cluster_id)
    without_dump = [p for p in folder.glob(f"{prefix}*{MANIFEST}") if not p.with_suffix(DUMP).exists()]
    for path in [*folder.glob(f"{prefix}*{PARTIAL}"), *without_dump]:
        path.unlink(missing_ok=True)


def remove(backup: Backup) -> None:
    """Raises OSError."""
    backup.path.unlink(missing_ok=True)
    backup.path.with_suffix(MANIFEST).unlink(missing_ok=True)  # second: a dump without it would never be removed


def plan_removals(backups: Sequence[Backup], *, keep_count: int) -> list[Backup]:
    """Pure. All but the newest `keep_count`; never the newest verified one. `backups` oldest first."""
    verified = [backup for backup in backups if backup.is_verified]
    return [backup for backup in backups[:-keep_count] if backup not in verified[-1:]]


def is_due(backups: Sequence[Backup], *, interval: timedelta, now: datetime) -> bool:
    """Pure. `backups` oldest first."""
    return not backups or now - backups[-1].manifest.taken_at >= interval


def find_verified_age(backups: Sequence[Backup], *, now: datetime) -> timedelta | None:
    """Pure. Age of the newest verified backup, by when it was taken; None without one."""
    taken = [backup.manifest.taken_at for backup in backups if backup.is_verified]
    return now - max(taken) if taken else None


def _format_prefix(cluster_id: str) -> str:
    return f"control-{cluster_id[:_CLUSTER_CHARACTERS]}-"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
