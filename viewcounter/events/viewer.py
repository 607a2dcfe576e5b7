"""Viewer numbers: keyed hashes that distinguish viewers without naming them.

A client may identify a viewer by an e-mail address or an account number. That text is kept only for the duration of its
request: the gateway hashes it to 64 bits under a key, and only those go into the log and the shards. Without a key, a
reader of a shard could try every known address; a holder of the key still can: numbers are pseudonyms, not anonymous.

64 bits: among 100 million viewers the chance that any two share a number is 1 in 3,700.
"""

from hashlib import blake2b

from django.utils.crypto import salted_hmac

NO_VIEWER = 0
"""Of an event without a viewer. No viewer has this number."""

_VIEWER_BYTES = 8
_SALT = "viewcounter.viewer"
_NO_VIEWER_ID = "key fingerprint"  # white space: no viewer id can be equal to it


def derive_viewer_key(secret: str) -> bytes:
    """32 bytes. Every gateway must use the same secret: with another one every viewer counts as new."""
    key: bytes = salted_hmac(_SALT, "", secret=secret, algorithm="sha256").digest()
    return key


class ViewerDigest:
    """The viewer numbers under one key. Stateless: the keyed hash object is only copied."""

    def __init__(self, key: bytes) -> None:
        self._keyed = blake2b(digest_size=_VIEWER_BYTES, key=key)

    def get_number(self, viewer_id: str) -> int:
        """Signed 64 bits, as `bigint` holds them, never NO_VIEWER. `viewer_id` has no lone surrogates."""
        hashing = self._keyed.copy()
        hashing.update(viewer_id.encode())
        return int.from_bytes(hashing.digest(), "little", signed=True) or 1

    @property
    def key_fingerprint(self) -> str:
        """Eight hexadecimal digits that identify the key without revealing it."""
        return f"{self.get_number(_NO_VIEWER_ID) % 2**32:08x}"
