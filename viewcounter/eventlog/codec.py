"""One log entry: many events of one partition, packed by column.

Eight bytes of xxh3_64 over the rest, four bytes that say how many events, then a MessagePack map with a version;
columns are little-endian arrays as byte strings, so that a drain turns an entry into numpy arrays without
touching single events. Readers refuse damage and versions they do not know: such an entry is parked, not lost and
not counted wrongly.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np
import xxhash

from viewcounter.events.columns import Columns

CODEC_VERSION = 1
DIGEST_BYTES = 8
_COUNT = struct.Struct("<I")
_HEAD_BYTES = DIGEST_BYTES + _COUNT.size


class UnreadableEntry(ValueError):
    """The payload is not an entry this version understands (damaged, or written by a newer version)."""


class AcceptedEvent(NamedTuple):
    """A validated event on its way into the log: units as in `events.columns`."""

    event_id: bytes
    video_id: str
    type_id: int
    occurred_us: int
    value: int


class _PackedEntry(msgspec.Struct, frozen=True):
    version: int
    received_us: int
    videos: tuple[str, ...]
    event_ids: bytes
    occurred_us: bytes
    type_ids: bytes
    values: bytes
    video_index: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_PackedEntry)


def pack_entry(events: Iterable[AcceptedEvent], *, received_us: int) -> bytes:
    """Pack one or more events of one partition, all received at `received_us`."""
    ids, video_ids, type_ids, occurred, values = zip(*events, strict=True)
    codes: dict[str, int] = {}
    index = [codes.setdefault(video, len(codes)) for video in video_ids]
    count = len(ids)
    body = _COUNT.pack(count) + _encoder.encode(
        _PackedEntry(
            version=CODEC_VERSION,
            received_us=received_us,
            videos=tuple(codes),
            event_ids=b"".join(ids),
            # struct, not numpy: half the time for the few events that most entries have
            occurred_us=struct.pack(f"<{count}q", *occurred),
            type_ids=struct.pack(f"<{count}H", *type_ids),
            values=struct.pack(f"<{count}q", *values),
            video_index=struct.pack(f"<{count}I", *index),
        )
    )
    return xxhash.xxh3_64_digest(body) + body


def get_event_count(payload: bytes) -> int:
    """How many events an entry says it holds, without unpacking it; 0 for what is no entry."""
    return int(_COUNT.unpack_from(payload, DIGEST_BYTES)[0]) if len(payload) >= _HEAD_BYTES else 0


def unpack_entry(payload: bytes) -> Columns:
    """Raises UnreadableEntry, naming why."""
    digest, body = payload[:DIGEST_BYTES], payload[DIGEST_BYTES:]
    if xxhash.xxh3_64_digest(body) != digest:
        raise UnreadableEntry("the digest does not fit: the entry is damaged")
    try:
        packed = _decoder.decode(memoryview(body)[_COUNT.size :])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableEntry(f"not a packed entry: {error}") from error
    if packed.version != CODEC_VERSION:
        raise UnreadableEntry(f"entry version {packed.version}, this reader knows {CODEC_VERSION}")
    try:
        columns = Columns(
            event_ids=np.frombuffer(packed.event_ids, dtype="S16"),
            occurred_us=np.frombuffer(packed.occurred_us, dtype="<i8"),
            received_us=np.full(len(packed.event_ids) // 16, packed.received_us, dtype=np.int64),
            type_ids=np.frombuffer(packed.type_ids, dtype="<u2"),
            values=np.frombuffer(packed.values, dtype="<i8"),
            video_index=np.frombuffer(packed.video_index, dtype="<u4"),
            videos=packed.videos,
        )
    except (ValueError, OverflowError) as error:
        raise UnreadableEntry(f"column cut short: {error}") from error
    _check_shape(columns, count=get_event_count(payload))
    return columns


def _check_shape(columns: Columns, *, count: int) -> None:
    lengths = {
        len(c) for c in (columns.event_ids, columns.occurred_us, columns.type_ids, columns.values, columns.video_index)
    }
    if count == 0 or lengths != {count}:
        raise UnreadableEntry(f"columns of unequal length: {sorted(lengths | {count})}")
    if len(set(columns.videos)) != len(columns.videos):
        raise UnreadableEntry("a video stands twice in the list of videos")
    if int(columns.video_index.max()) >= len(columns.videos):
        raise UnreadableEntry("an event points past the list of videos")
