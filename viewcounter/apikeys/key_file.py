"""The file in which a host keeps all API keys, so that its gateways check keys while the control database is away.

It holds digests, never tokens: the secret of a token has 256 random bits, so that its SHA-256 gives nothing away. A
MAC under a key derived from VIEWCOUNTER_SECRET_KEY covers all of it. Without the MAC, a person who may write in the
folder could give a key of their own every scope; without the id of the cluster, a folder that was used for another one
would bring its keys.
"""

import hmac
import os
import stat
import tempfile
from datetime import datetime
from pathlib import Path

import msgspec

from viewcounter.apikeys.errors import KeyFileRefusal, KeyFileRefused
from viewcounter.apikeys.scopes import KeyKind

FILE_NAME = "api_keys"
_MAX_BYTES = 256 * 1024 * 1024
_DERIVATION = b"viewcounter API keys on disk\n"
_MAC_BYTES = 32
_FORBIDDEN_MODE = stat.S_IRWXG | stat.S_IRWXO


class KeyRecord(msgspec.Struct, frozen=True):
    """A key as the control database has it. Limits are those of its own, without those of the settings."""

    prefix: str
    secret_sha256: bytes
    name: str
    kind: KeyKind
    scopes: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    requests_per_second: int | None
    events_per_second: int | None
    expires_at: datetime | None
    revoked_at: datetime | None


class KeyList(msgspec.Struct, frozen=True):
    """All keys, as one query of the control database at `read_at` found them."""

    cluster_id: str
    read_at: datetime
    keys: tuple[KeyRecord, ...]


def find_key_list(path: Path, *, secret: str, cluster_id: str) -> KeyList | None:
    """None if there is no file. Raises KeyFileRefused."""
    try:
        data = _read_private(path)
        if data is None:
            return None
        mac, content = data[:_MAC_BYTES], data[_MAC_BYTES:]
        if not hmac.compare_digest(mac, _compute_mac(content, secret)):
            raise KeyFileRefused(path, KeyFileRefusal.MAC)
        keys = msgspec.json.decode(content, type=KeyList)
    except (OSError, msgspec.DecodeError) as error:
        raise KeyFileRefused(path, KeyFileRefusal.UNREADABLE) from error
    if keys.cluster_id != cluster_id:
        raise KeyFileRefused(path, KeyFileRefusal.OTHER_CLUSTER)
    return keys


def write_key_list(path: Path, keys: KeyList, *, secret: str) -> None:
    """Atomic, mode 0600 (`mkstemp` makes it so). Raises OSError."""
    content = msgspec.json.encode(keys)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    written = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_compute_mac(content, secret) + content)
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    except OSError:
        written.unlink(missing_ok=True)
        raise


def _read_private(path: Path) -> bytes | None:
    """Owner and mode are those of the opened file: nobody can put another one in its place between check and read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise KeyFileRefused(path, KeyFileRefusal.OWNER)
        if status.st_mode & _FORBIDDEN_MODE:
            raise KeyFileRefused(path, KeyFileRefusal.MODE)
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise KeyFileRefused(path, KeyFileRefusal.UNREADABLE)
    return data


def _compute_mac(content: bytes, secret: str) -> bytes:
    return hmac.digest(hmac.digest(secret.encode(), _DERIVATION, "sha256"), content, "sha256")
