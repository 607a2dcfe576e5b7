"""Ed25519 signatures of published snapshots: they prove whose topology it is, whatever its source. See decision 0010.

The exact published text is signed and stored beside its signatures, so that verifying never re-encodes it. A snapshot
may have signatures of several keys, and a process may accept several keys: so keys are rotated one after the other.
Signatures are base64.
"""

import os
from base64 import b64decode, b64encode
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from configservice.errors import BadSigningKey
from configservice.topology.keys import compute_key_id, split_public_keys, write_public_key
from configservice.topology.published_snapshot import PublishedSnapshot

_PURPOSE = b"viewcounter topology snapshot\n"
"""Signed with the text, so that a signature made for another purpose is never valid."""


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """The accepted keys; without any, nothing is verified."""

    by_id: dict[str, Ed25519PublicKey]

    @classmethod
    def parse(cls, text: str) -> "PublicKeys":
        """Raises ValueError."""
        return cls({key_id: Ed25519PublicKey.from_public_bytes(raw) for key_id, raw in split_public_keys(text).items()})

    def __bool__(self) -> bool:
        return bool(self.by_id)

    def verify(self, published: PublishedSnapshot) -> bool:
        """Whether one of these keys has signed exactly this text."""
        return any(
            _is_valid(key, published.snapshot, signature)
            for key_id, signature in published.signatures.items()
            if (key := self.by_id.get(key_id)) is not None
        )


def _is_valid(key: Ed25519PublicKey, snapshot: str, signature: str) -> bool:
    try:
        key.verify(b64decode(signature, validate=True), _PURPOSE + snapshot.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    private: Ed25519PrivateKey
    public: str
    """The public half, as in the settings."""
    id: str

    def sign(self, snapshot: str) -> str:
        return b64encode(self.private.sign(_PURPOSE + snapshot.encode())).decode()


def read_signing_key(path: Path) -> SigningKey:
    """The key in a PEM file, which is read anew when it has changed. Raises BadSigningKey."""
    try:
        state = path.stat()
        return _load_signing_key(path, (state.st_ino, state.st_mtime_ns, state.st_size))
    except OSError as error:
        raise BadSigningKey(f"{path}: {error.strerror}") from error


@lru_cache(maxsize=2)
def _load_signing_key(path: Path, _state: tuple[int, int, int]) -> SigningKey:
    """`_state`: of the file. Raises BadSigningKey, OSError."""
    try:
        private = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadSigningKey(f"{path} holds no unencrypted private key in PEM form") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise BadSigningKey(f"{path} holds a key that is not Ed25519")
    return _build_signing_key(private)


def make_signing_key() -> str:
    """A new private key as PEM text."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def make_signing_key_file(path: Path) -> SigningKey:
    """Writes a new key to a file that only its owner may read. Raises FileExistsError and other OSErrors."""
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(make_signing_key())
    return read_signing_key(path)


def _build_signing_key(private: Ed25519PrivateKey) -> SigningKey:
    raw = private.public_key().public_bytes_raw()
    return SigningKey(private, write_public_key(raw), compute_key_id(raw))
