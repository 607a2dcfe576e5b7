"""Public keys of the topology's signers as base64 texts, for settings. Pure; imports no cryptography."""

from base64 import b64decode, b64encode
from hashlib import sha256

PUBLIC_KEY_BYTES = 32


def check_public_keys(text: str) -> str:
    """Returns the text; a validator for settings. Raises ValueError with the invalid key."""
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
            raise ValueError(f"{part!r} is not a public key as printed by `manage.py make_signing_key`")
        keys[compute_key_id(raw)] = raw
    return keys


def write_public_key(raw: bytes) -> str:
    return b64encode(raw).decode()


def compute_key_id(raw: bytes) -> str:
    """The id of a key: the first 16 hex digits of the SHA-256 of its public half."""
    return sha256(raw).hexdigest()[:16]
