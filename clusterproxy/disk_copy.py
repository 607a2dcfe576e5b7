"""The last topology on disk, so that a process starts and serves while the config service is down."""

import logging
import os
import tempfile
from pathlib import Path

import msgspec

from configservice.topology.published_snapshot import (
    PublishedSnapshot,
    decode_published_snapshot,
    encode_published_snapshot,
)

logger = logging.getLogger(__name__)

FILE_NAME = "topology.json"
PLACE = "the disk copy"


def find_disk_copy(state_dir: Path) -> PublishedSnapshot | None:
    """None if there is none, or if it cannot be read, which is logged. The snapshot has not been checked."""
    path = state_dir / FILE_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("ignoring the disk copy of the topology, %s: %s", path, error)
        return None
    try:
        return decode_published_snapshot(data)
    except msgspec.DecodeError:
        # The previous release wrote the snapshot without signatures.
        return PublishedSnapshot(data.decode("utf-8", "replace"))


def write_disk_copy(state_dir: Path, published: PublishedSnapshot) -> None:
    """Atomic, mode 0600 (`mkstemp` makes it so): many processes write here, a reader always finds a whole one.

    Raises OSError.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{FILE_NAME}-", dir=state_dir)
    written = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(encode_published_snapshot(published))
            file.flush()
            os.fsync(file.fileno())
        written.replace(state_dir / FILE_NAME)
    except OSError:
        written.unlink(missing_ok=True)
        raise
