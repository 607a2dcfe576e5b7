"""One log entry: many events of one partition, packed by column.

Eight bytes of xxh3_64 over the rest, four bytes with the number of events, then a MessagePack map with a version;
columns are little-endian arrays as byte strings, so that a drain turns an entry into numpy arrays without
touching single events. Version 1 has no column of viewers: an entry in which no event names one is written so.
Readers refuse damaged entries and unknown versions: such an entry becomes a dead letter, neither lost nor miscounted.

A gateway process adds a link to each entry when it appends it: its own id, and where its entry before stands. A reader
that has not met that one knows that the log has lost it. Entries of earlier releases have no link.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from runtime.errors import Permanent
from viewcounter.eventlog.interface import Position
from viewcounter.events.columns import Columns, number_texts
from viewcounter.events.viewer import NO_VIEWER

CODEC_VERSION = 2
_WITHOUT_VIEWERS = 1
DIGEST_BYTES = 8
ID_BYTES = 16
_COUNT = struct.Struct("<I")
_HEAD_BYTES = DIGEST_BYTES + _COUNT.size
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RECEIVED_KEY = b"received_us"
_INTEGER_BYTES = {b"\xcc": 1, b"\xcd": 2, b"\xce": 4, b"\xcf": 8}
"""Of an integer in MessagePack by its first byte; a small one is that byte."""
HEAD_BYTES = 64
"""Of an entry, with the receive time of its events: see `find_received_at`."""


class UnreadableEntry(ValueError, Permanent):
    """The payload is not an entry that this version can read: it is damaged, or written by a newer version."""


class AcceptedEvent(NamedTuple):
    """A validated event on its way into the log: units as in `events.columns`."""

    event_id: bytes
    video_id: str
    type_id: int
    occurred_us: int
    value: int
    viewer: int = NO_VIEWER


class EntryLink(NamedTuple):
    """`producer`: random number of the process that appended the entry. `after`: position of its entry of this
    partition that was acknowledged last; START: none."""

    producer: int
    after: Position


class Unpacked(NamedTuple):
    """The events of all readable entries, in order. By index in the payloads: the errors of the others, and the links
    of those that have one."""

    columns: Columns
    unreadable: dict[int, "UnreadableEntry"]
    links: dict[int, EntryLink]


class _PackedEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    version: int
    received_us: Annotated[int, msgspec.Meta(le=2**63 - 1)]
    videos: tuple[str, ...]
    event_ids: bytes
    occurred_us: bytes
    type_ids: bytes
    values: bytes
    video_index: bytes
    viewers: bytes = b""
    link: tuple[int, int, int] | None = None  # producer, then term and sequence of `after`

    @property
    def column_bytes(self) -> tuple[int, ...]:
        """16, 8, 2, 8 and 4 for each event, and 8 or 0 of its viewer."""
        return (
            len(self.event_ids),
            len(self.occurred_us),
            len(self.type_ids),
            len(self.values),
            len(self.video_index),
            len(self.viewers),
        )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_PackedEntry)


def pack_entry(events: Iterable[AcceptedEvent], *, received_us: int) -> bytes:
    """Pack one or more events of one partition, all received at `received_us`."""
    ids, video_ids, type_ids, occurred, values, viewers = zip(*events, strict=True)
    codes: dict[str, int] = {}
    index = [codes.setdefault(video, len(codes)) for video in video_ids]
    count = len(ids)
    has_viewers = any(viewers)
    return _encode(
        count,
        _PackedEntry(
            version=CODEC_VERSION if has_viewers else _WITHOUT_VIEWERS,
            received_us=received_us,
            videos=tuple(codes),
            event_ids=b"".join(ids),
            # struct, not numpy: half the time for the few events that most entries have
            occurred_us=struct.pack(f"<{count}q", *occurred),
            type_ids=struct.pack(f"<{count}H", *type_ids),
            values=struct.pack(f"<{count}q", *values),
            video_index=struct.pack(f"<{count}I", *index),
            viewers=struct.pack(f"<{count}q", *viewers) if has_viewers else b"",
        ),
    )


def link_entry(payload: bytes, link: EntryLink | None) -> bytes:
    """The same entry with this link instead of its own; None: without one. A payload that this version cannot read is
    returned as it is, so that its reader finds the damage."""
    try:
        packed = _read_entry(payload)
    except UnreadableEntry:
        return payload
    place = None if link is None else (link.producer, *link.after)
    return _encode(get_event_count(payload), msgspec.structs.replace(packed, link=place))


def _encode(count: int, packed: _PackedEntry) -> bytes:
    body = _COUNT.pack(count) + _encoder.encode(packed)
    return xxhash.xxh3_64_digest(body) + body


def pack_entries(events: Sequence[AcceptedEvent], *, received_us: int, max_bytes: int) -> list[bytes]:
    """`pack_entry` into as many entries as keep each within `max_bytes`, in the order of the events.

    A single event is never refused, however small the bound.
    """
    payload = pack_entry(events, received_us=received_us)
    if len(payload) <= max_bytes or len(events) == 1:
        return [payload]
    parts = min(len(events), -(-len(payload) // max_bytes))
    size = -(-len(events) // parts)
    return [
        part
        for first in range(0, len(events), size)
        for part in pack_entries(events[first : first + size], received_us=received_us, max_bytes=max_bytes)
    ]


def get_event_count(payload: bytes) -> int:
    """The number of events in an entry, without unpacking it; 0 for a payload that is too short."""
    return int(_COUNT.unpack_from(payload, DIGEST_BYTES)[0]) if len(payload) >= _HEAD_BYTES else 0


def find_received_at(head: bytes) -> datetime | None:
    """When the gateway received the events of an entry, by its clock; None if this is not found.

    `head`: at least the first HEAD_BYTES of the entry. Nothing else is unpacked, and the digest is not checked.
    """
    rest = head.partition(_RECEIVED_KEY)[2]
    try:
        received_us = msgspec.msgpack.decode(rest[: 1 + _INTEGER_BYTES.get(rest[:1], 0)], type=int)
        return _EPOCH + timedelta(microseconds=received_us)
    except (msgspec.DecodeError, OverflowError):
        return None


def unpack_entry(payload: bytes) -> Columns:
    """Raises UnreadableEntry, naming why."""
    unpacked = unpack_entries([payload])
    for error in unpacked.unreadable.values():
        raise error
    return unpacked.columns


def get_event(columns: Columns, row: int) -> AcceptedEvent:
    """One event in the form of `pack_entry`, for the few that are handled singly."""
    return AcceptedEvent(
        columns.event_ids[row : row + 1].tobytes(),
        columns.videos[int(columns.video_index[row])],
        int(columns.type_ids[row]),
        int(columns.occurred_us[row]),
        int(columns.values[row]),
        int(columns.viewers[row]),
    )


def unpack_entries(payloads: Sequence[bytes]) -> Unpacked:
    """Entries are many and may have few events each, so columns are built of all of them at once."""
    readable: dict[int, _PackedEntry] = {}
    unreadable: dict[int, UnreadableEntry] = {}
    for number, payload in enumerate(payloads):
        try:
            readable[number] = _read_entry(payload)
        except UnreadableEntry as error:
            unreadable[number] = error
    for number in _find_pointing_past_videos(readable):
        del readable[number]
        unreadable[number] = UnreadableEntry("an event points past the list of videos")
    links = {
        number: EntryLink(packed.link[0], Position(packed.link[1], packed.link[2]))
        for number, packed in readable.items()
        if packed.link is not None
    }
    return Unpacked(_lay_out(list(readable.values())), unreadable, links)


def _read_entry(payload: bytes) -> _PackedEntry:
    digest, body = payload[:DIGEST_BYTES], payload[DIGEST_BYTES:]
    if xxhash.xxh3_64_digest(body) != digest:
        raise UnreadableEntry("the digest does not fit: the entry is damaged")
    try:
        packed = _decoder.decode(memoryview(body)[_COUNT.size :])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableEntry(f"not a packed entry: {error}") from error
    if not _WITHOUT_VIEWERS <= packed.version <= CODEC_VERSION:
        raise UnreadableEntry(f"entry version {packed.version}, this reader knows up to {CODEC_VERSION}")
    count = get_event_count(payload)
    viewer_bytes = 0 if packed.version == _WITHOUT_VIEWERS else 8 * count
    needed_bytes = (ID_BYTES * count, 8 * count, 2 * count, 8 * count, 4 * count, viewer_bytes)
    if count == 0 or packed.column_bytes != needed_bytes:
        raise UnreadableEntry(f"columns of {packed.column_bytes} bytes do not hold {count} events")
    return packed


def _find_pointing_past_videos(entries: Mapping[int, _PackedEntry]) -> list[int]:
    index = _join([entry.video_index for entry in entries.values()], "<u4")
    sizes = np.array([len(entry.videos) for entry in entries.values()], dtype=np.int64)
    counts = _count_events(entries.values())
    beyond = index >= np.repeat(sizes, counts)
    if not beyond.any():
        return []
    return sorted(set(np.repeat(np.array(list(entries)), counts)[beyond].tolist()))


def _lay_out(entries: Sequence[_PackedEntry]) -> Columns:
    counts = _count_events(entries)
    videos, codes = number_texts([video for entry in entries for video in entry.videos])
    sizes = np.array([len(entry.videos) for entry in entries], dtype=np.int64)
    in_all_lists = _join([entry.video_index for entry in entries], "<u4") + np.repeat(np.cumsum(sizes) - sizes, counts)
    return Columns(
        event_ids=_join([entry.event_ids for entry in entries], "S16"),
        occurred_us=_join([entry.occurred_us for entry in entries], "<i8"),
        received_us=np.repeat(np.array([entry.received_us for entry in entries], dtype=np.int64), counts),
        type_ids=_join([entry.type_ids for entry in entries], "<u2"),
        values=_join([entry.values for entry in entries], "<i8"),
        video_index=codes[in_all_lists],
        viewers=_join_viewers(entries, counts),
        videos=videos,
    )


def _join_viewers(entries: Sequence[_PackedEntry], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    parts = [entry.viewers for entry in entries]
    if not any(parts):
        return np.full(int(counts.sum()), NO_VIEWER, dtype=np.int64)
    return _join([part or bytes(8 * count) for part, count in zip(parts, counts.tolist(), strict=True)], "<i8")


def _count_events(entries: Iterable[_PackedEntry]) -> NDArray[np.int64]:
    return np.array([len(entry.event_ids) // ID_BYTES for entry in entries], dtype=np.int64)


def _join(parts: Sequence[bytes], dtype: str) -> NDArray[Any]:
    return np.frombuffer(b"".join(parts), dtype=dtype)
