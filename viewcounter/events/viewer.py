"""Who watched, as a number that tells viewers apart and names nobody.

A client may name a viewer by an e-mail address or an account number. That text lives as long as the request that
brought it: the gateway turns it into 64 bits under a key, and only those go into the log and the shards. Without a key,
whoever reads a shard could try all addresses there are; with it, somebody who has the key still can: the number is
a pseudonym, not anonymous.

64 bits: among 100 million viewers the chance that any two share a number is 1 in 3,700.
"""

from hashlib import blake2b

from django.utils.crypto import salted_hmac

NO_VIEWER = 0
"""Of an event that names no viewer. No viewer has this number."""

_VIEWER_BYTES = 8
_SALT = "viewcounter.viewer"
_NO_VIEWER_ID = "key fingerprint"  # white space: no viewer can be called so


def derive_viewer_key(secret: str) -> bytes:
    """32 bytes. Every gateway must use the same secret: another one makes everybody a new viewer."""
    key: bytes = salted_hmac(_SALT, "", secret=secret, algorithm="sha256").digest()
    return key


class ViewerDigest:
    """The numbers of viewers under one key. Stateless: what is hashed already of the key is only ever copied."""

    def __init__(self, key: bytes) -> None:
        self._keyed = blake2b(digest_size=_VIEWER_BYTES, key=key)

    def get_number(self, viewer_id: str) -> int:
        """Signed 64 bits, as `bigint` holds them, never NO_VIEWER. `viewer_id` has no lone surrogates."""
        hashing = self._keyed.copy()
        hashing.update(viewer_id.encode())
        return int.from_bytes(hashing.digest(), "little", signed=True) or 1

    @property
    def key_fingerprint(self) -> str:
        """Eight hexadecimal digits that differ with the key and do not tell it."""
        return f"{self.get_number(_NO_VIEWER_ID) % 2**32:08x}"
