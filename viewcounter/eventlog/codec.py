"""One log entry: many events of one partition, packed by column.

A MessagePack map with a version; columns are little-endian arrays as byte strings, so that a drain turns an
entry into numpy arrays without touching single events. Readers refuse a version they do not know: such an
entry is parked, not lost.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np

from viewcounter.events.columns import Columns

CODEC_VERSION = 1


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
    """Pack events of one partition, all received at `received_us`."""
    ids, video_ids, type_ids, occurred, values = zip(*events, strict=True)
    codes: dict[str, int] = {}
    index = [codes.setdefault(video, len(codes)) for video in video_ids]
    return _encoder.encode(
        _PackedEntry(
            version=CODEC_VERSION,
            received_us=received_us,
            videos=tuple(codes),
            event_ids=b"".join(ids),
            occurred_us=np.array(occurred, dtype="<i8").tobytes(),
            type_ids=np.array(type_ids, dtype="<u2").tobytes(),
            values=np.array(values, dtype="<i8").tobytes(),
            video_index=np.array(index, dtype="<u4").tobytes(),
        )
    )


def unpack_entry(payload: bytes) -> Columns:
    """Raises UnreadableEntry, naming why."""
    try:
        packed = _decoder.decode(payload)
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
    except ValueError as error:
        raise UnreadableEntry(f"column cut short: {error}") from error
    _check_shape(columns)
    return columns


def _check_shape(columns: Columns) -> None:
    count = len(columns.event_ids)
    lengths = {len(c) for c in (columns.occurred_us, columns.type_ids, columns.values, columns.video_index)}
    if count == 0 or lengths != {count}:
        raise UnreadableEntry(f"columns of unequal length: {sorted(lengths | {count})}")
    if len(set(columns.videos)) != len(columns.videos):
        raise UnreadableEntry("a video stands twice in the list of videos")
    if int(columns.video_index.max()) >= len(columns.videos):
        raise UnreadableEntry("an event points past the list of videos")
