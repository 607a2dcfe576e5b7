"""Public keys of the topology's signers as settings name them: base64 texts. Pure, and without any cryptography."""

from base64 import b64decode, b64encode
from hashlib import sha256

PUBLIC_KEY_BYTES = 32


def check_public_keys(text: str) -> str:
    """The text itself, for where settings are read. Raises ValueError naming the key that is none."""
    split_public_keys(text)
    return text


def split_public_keys(text: str) -> dict[str, bytes]:
    """Raw public keys by key id, from texts separated by commas. Raises ValueError."""
    keys = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            raw = b64decode(part, validate=True)
        except ValueError:
            raw = b""
        if len(raw) != PUBLIC_KEY_BYTES:
            raise ValueError(f"{part!r} is no public key as `manage.py make_signing_key` prints it")
        keys[compute_key_id(raw)] = raw
    return keys


def write_public_key(raw: bytes) -> str:
    return b64encode(raw).decode()


def compute_key_id(raw: bytes) -> str:
    """The id of a key: the beginning of the SHA-256 of its public half."""
    return sha256(raw).hexdigest()[:16]
