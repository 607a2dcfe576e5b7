"""Public keys of the topology's signers as base64 texts, in settings or in a file. Imports no cryptography.

A file is read anew for each use, so that keys are added and removed without a restart. What cannot be read, or holds no
key or an invalid one, changes nothing: the process goes on with the keys that it read last.
"""

import logging
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

logger = logging.getLogger(__name__)

PUBLIC_KEY_BYTES = 32
FILE_PREFIX = "file:"


@dataclass(slots=True)
class _KeyFile:
    """What was read last. `keys` by id; none before the first time that they could be read."""

    keys: dict[str, bytes]
    problem: str = ""


_files: dict[Path, _KeyFile] = {}


def check_public_keys(text: str) -> str:
    """Returns the text; a validator for settings. Raises ValueError with the invalid key."""
    split_public_keys(text)
    return text


def split_public_keys(text: str) -> dict[str, bytes]:
    """Raw public keys by key id, from texts separated by commas, or from the file that `file:/path` names.

    Raises ValueError; for a file only if it could not be read before.
    """
    if text.startswith(FILE_PREFIX):
        return _read_file(Path(text.removeprefix(FILE_PREFIX)))
    keys = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            raw = b64decode(part, validate=True)
        except ValueError:
            raw = b""
        if len(raw) != PUBLIC_KEY_BYTES:
            raise ValueError(f"{part!r} is not a public key as printed by `manage.py make_signing_key`")
        keys[compute_key_id(raw)] = raw
    return keys


def _read_file(path: Path) -> dict[str, bytes]:
    """One key a line."""
    known = _files.setdefault(path, _KeyFile({}))
    try:
        keys = split_public_keys(",".join(path.read_text(encoding="ascii").split()))
        if not keys:
            raise ValueError("it holds no key")
    except (OSError, ValueError) as error:
        problem = f"{path}: {getattr(error, 'strerror', None) or error}"
        if not known.keys:
            raise ValueError(problem) from error
        if problem != known.problem:
            logger.error("the public keys of the topology stay those read before, %s", problem)
        known.problem = problem
        return known.keys
    if known.keys and keys.keys() != known.keys.keys():
        logger.info("the public keys of the topology are now %s", ", ".join(keys))
    known.keys, known.problem = keys, ""
    return keys


def write_public_key(raw: bytes) -> str:
    return b64encode(raw).decode()


def compute_key_id(raw: bytes) -> str:
    """The id of a key: the first 16 hex digits of the SHA-256 of its public half."""
    return sha256(raw).hexdigest()[:16]
