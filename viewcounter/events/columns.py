"""Events as columns: numpy arrays of equal length n, so that no stage handles events one by one.

`event_ids` S16 (the 16 bytes of the UUID; numpy drops trailing NULs only in display, comparison is exact),
`occurred_us` and `received_us` int64 microseconds since 1970 UTC, `type_ids` uint16, `values` int64
thousandths, `video_index` uint32 into `videos`, `viewers` int64 (see `events.viewer`; 0: none named).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from viewcounter.events.viewer import NO_VIEWER

MICROSECONDS_PER_MINUTE = 60_000_000
UUID_VERSION_7 = 7


@dataclass(frozen=True, slots=True)
class Columns:
    """Invariant: every array has the same length, every `video_index` is below `len(videos)`, videos are distinct."""

    event_ids: NDArray[Any]
    occurred_us: NDArray[np.int64]
    received_us: NDArray[np.int64]
    type_ids: NDArray[np.uint16]
    values: NDArray[np.int64]
    video_index: NDArray[np.uint32]
    viewers: NDArray[np.int64]
    videos: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.event_ids)

    @property
    def size_bytes(self) -> int:
        """Size of the arrays, without the video ids."""
        fixed = (self.event_ids, self.occurred_us, self.received_us, self.type_ids, self.values)
        return sum(array.nbytes for array in (*fixed, self.video_index, self.viewers))

    def select(self, rows: NDArray[Any]) -> "Columns":
        """The rows of a boolean mask or an index array, in its order."""
        if rows.dtype == np.bool_ and rows.all():
            return self
        return Columns(
            event_ids=self.event_ids[rows],
            occurred_us=self.occurred_us[rows],
            received_us=self.received_us[rows],
            type_ids=self.type_ids[rows],
            values=self.values[rows],
            video_index=self.video_index[rows],
            viewers=self.viewers[rows],
            videos=self.videos,
        )

    def id_words(self) -> NDArray[np.uint64]:
        """The ids as (n, 2) unsigned words, high word first."""
        return _get_words(self.event_ids)

    def minutes(self) -> NDArray[np.int64]:
        """The minute of each event in which it is counted: minutes since 1970 UTC of `occurred_us`."""
        return self.occurred_us // MICROSECONDS_PER_MINUTE

    def id_minutes(self) -> NDArray[np.int64]:
        """The minute under which each id is stored: that of a UUIDv7 itself, else that of `occurred_us`.

        A retry carries the same id, and so the same minute, which bounds where a duplicate can be found.
        """
        return get_id_minutes(self.event_ids, self.occurred_us)

    def id_digests(self) -> NDArray[np.uint64]:
        """hash64 of each event id: their sum mod 2^64 proves, in any order, which events were counted."""
        return digest_ids(self.event_ids)

    def content_digests(self) -> NDArray[np.uint64]:
        """hash64 of the content of each event (video, type, time, value, viewer): separates duplicates from conflicts.

        An event without a viewer has the digest of the other four, whatever the other events have.
        """
        videos = np.array([xxhash.xxh3_64_intdigest(v.encode()) for v in self.videos], dtype=np.uint64)
        digest = _mix(videos[self.video_index]) ^ self.occurred_us.astype(np.uint64)
        digest = _mix(digest) ^ self.type_ids.astype(np.uint64)
        digest = _mix(_mix(digest) ^ self.values.astype(np.uint64))
        if not self.viewers.any():
            return digest
        return np.where(self.viewers == NO_VIEWER, digest, _mix(digest ^ self.viewers.astype(np.uint64)))


def digest_ids(event_ids: NDArray[Any]) -> NDArray[np.uint64]:
    """hash64 of each id of an S16 array."""
    words = _get_words(event_ids)
    return _mix(_mix(words[:, 0]) ^ words[:, 1])


def get_id_minutes(event_ids: NDArray[Any], occurred_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """`Columns.id_minutes` of the ids of an S16 array."""
    high = _get_words(event_ids)[:, 0]
    is_version_7 = (high >> np.uint64(12)) & np.uint64(0xF) == UUID_VERSION_7
    uuid_minutes = (high >> np.uint64(16)).astype(np.int64) // 60_000
    return np.where(is_version_7, uuid_minutes, occurred_us // MICROSECONDS_PER_MINUTE)


def _get_words(event_ids: NDArray[Any]) -> NDArray[np.uint64]:
    return np.frombuffer(event_ids.tobytes(), dtype=">u8").reshape(-1, 2).astype(np.uint64)


def concat_columns(parts: Sequence[Columns]) -> Columns:
    """All rows of `parts` in order, over one merged list of videos. Raises ValueError for no parts."""
    if len(parts) == 1:
        return parts[0]
    videos, codes = number_texts([video for part in parts for video in part.videos])
    starts = accumulate((len(part.videos) for part in parts), initial=0)
    return Columns(
        event_ids=np.concatenate([p.event_ids for p in parts]),
        occurred_us=np.concatenate([p.occurred_us for p in parts]),
        received_us=np.concatenate([p.received_us for p in parts]),
        type_ids=np.concatenate([p.type_ids for p in parts]),
        values=np.concatenate([p.values for p in parts]),
        video_index=np.concatenate([codes[p.video_index + start] for p, start in zip(parts, starts, strict=False)]),
        viewers=np.concatenate([p.viewers for p in parts]),
        videos=videos,
    )


def number_texts(texts: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.uint32]]:
    """The distinct texts in order of first occurrence, and for each of `texts` its index in them."""
    distinct = tuple(dict.fromkeys(texts))
    numbers = dict(zip(distinct, range(len(distinct)), strict=True))
    return distinct, np.fromiter(map(numbers.__getitem__, texts), dtype=np.uint32, count=len(texts))


def narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Values of the same order, in 16 bits where they fit: numpy sorts those in linear time."""
    if not len(values):
        return values
    low, high = int(values.min()), int(values.max())
    return (values - low).astype(np.uint16) if high - low < 2**16 else values


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finalizer (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)."""
    with np.errstate(over="ignore"):
        words = words + np.uint64(0x9E3779B97F4A7C15)
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return words ^ (words >> np.uint64(31))
