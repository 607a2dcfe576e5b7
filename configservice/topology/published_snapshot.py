"""A topology snapshot as it was published: its exact text, which is what is compared and kept. Pure.

Processes never encode a snapshot anew that they have been given: two releases may write the same topology differently.
"""

from hashlib import md5

import msgspec

from configservice.topology.model import Topology, decode_topology, encode_topology


class PublishedSnapshot(msgspec.Struct, frozen=True):
    """`snapshot` is the JSON text of a `Topology`; `signatures` of that text by key id, see `topology_signing`."""

    snapshot: str
    signatures: dict[str, str] = {}

    def decode(self) -> Topology:
        """Raises msgspec.ValidationError or msgspec.DecodeError for anything that is not a whole snapshot."""
        return decode_topology(self.snapshot)

    def compute_md5(self) -> str:
        """As PostgreSQL's `md5(snapshot)`: tells whether a row holds this snapshot. No protection against anybody."""
        return md5(self.snapshot.encode(), usedforsecurity=False).hexdigest()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(PublishedSnapshot)


def build_published_snapshot(topology: Topology) -> PublishedSnapshot:
    return PublishedSnapshot(encode_topology(topology).decode())


def encode_published_snapshot(published: PublishedSnapshot) -> bytes:
    return _encoder.encode(published)


def decode_published_snapshot(data: bytes) -> PublishedSnapshot:
    """Raises msgspec.ValidationError or msgspec.DecodeError. The snapshot inside is not looked at."""
    return _decoder.decode(data)
