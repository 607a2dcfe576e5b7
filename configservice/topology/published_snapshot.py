"""A published topology snapshot: its exact text with signatures. Pure.

Processes compare and store the text and never re-encode it: two releases may encode the same topology differently.
"""

from hashlib import md5

import msgspec

from configservice.topology.model import Topology, decode_topology, encode_topology


class PublishedSnapshot(msgspec.Struct, frozen=True):
    """`snapshot` is the JSON text of a `Topology`; `signatures`: signatures of that text by key id, see `signing`."""

    snapshot: str
    signatures: dict[str, str] = {}

    def decode(self) -> Topology:
        """Raises msgspec.ValidationError or msgspec.DecodeError for anything that is not a whole snapshot."""
        return decode_topology(self.snapshot)

    def compute_md5(self) -> str:
        """Equals PostgreSQL's `md5(snapshot)`: compares a row with this snapshot. Not a protection against forgery."""
        return md5(self.snapshot.encode(), usedforsecurity=False).hexdigest()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(PublishedSnapshot)


def build_published_snapshot(topology: Topology) -> PublishedSnapshot:
    return PublishedSnapshot(encode_topology(topology).decode())


def encode_published_snapshot(published: PublishedSnapshot) -> bytes:
    return _encoder.encode(published)


def decode_published_snapshot(data: bytes) -> PublishedSnapshot:
    """Raises msgspec.ValidationError or msgspec.DecodeError. Does not decode the snapshot inside."""
    return _decoder.decode(data)
