"""The last topology on disk, so that a process starts and serves while the config service is down."""

import logging
import os
import tempfile
from pathlib import Path

import msgspec

from configservice.topology import Topology, decode_topology, encode_topology

logger = logging.getLogger(__name__)

FILE_NAME = "topology.json"


def find_disk_copy(state_dir: Path) -> Topology | None:
    """None if there is none, or if it cannot be understood (said in the log): it is only ever a second choice."""
    path = state_dir / FILE_NAME
    try:
        return decode_topology(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        logger.warning("ignoring the disk copy of the topology, %s: %s", path, error)
        return None


def write_disk_copy(state_dir: Path, topology: Topology) -> None:
    """Atomic, mode 0600 (`mkstemp` makes it so): many processes write here, a reader always finds a whole one.

    Raises OSError.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{FILE_NAME}-", dir=state_dir)
    written = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(encode_topology(topology))
            file.flush()
            os.fsync(file.fileno())
        written.replace(state_dir / FILE_NAME)
    except OSError:
        written.unlink(missing_ok=True)
        raise
