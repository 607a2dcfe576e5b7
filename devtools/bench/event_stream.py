"""Events as clients send them, some of them twice: the input of all compared systems.

Videos and types are distributed as in `workload`. Every REPEAT_EVERY-th event repeats an earlier one with the same id
and content, like a retry of a client that got no answer. Ids are version 7, whose order helps every index on them.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configservice.topology.event_types import DEFAULT_EVENT_TYPES
from devtools.bench.workload import TYPE_SHARES, VIDEO_COUNT, WATCH_TIME, ZIPF_EXPONENT
from viewcounter.events.columns import Columns
from viewcounter.events.message import VALUE_SCALE
from viewcounter.events.viewer import NO_VIEWER

REPEAT_EVERY = 100
VIDEOS = tuple(f"video-{number:06d}" for number in range(VIDEO_COUNT))
TYPE_NAMES = {event_type.id: event_type.name for event_type in DEFAULT_EVENT_TYPES}

Rows = NDArray[Any]
"""Array of ROW, one for each event."""
ROW = np.dtype([("id", "S16"), ("video", "u4"), ("type", "u2"), ("occurred_us", "i8"), ("value", "i8")])

_POSITION_OF_REPEATS = REPEAT_EVERY - 1
_BLOCK = 1000


class EventStream:
    """Endless. `repeat_after`: number of events between one and its repetition, more than can be in flight at once.

    Invariant: `_last` holds the last events taken, `repeat_after` of them or all.
    """

    def __init__(self, *, seed: int, repeat_after: int) -> None:
        if repeat_after % REPEAT_EVERY in (0, _POSITION_OF_REPEATS):
            raise ValueError(f"{repeat_after} events later every repetition would be of another one")
        self.repeat_after = repeat_after
        self._rng = np.random.default_rng(seed)
        shares = 1 / np.arange(1, VIDEO_COUNT + 1) ** ZIPF_EXPONENT
        self._shares = np.cumsum(shares / shares.sum())
        self._last = np.zeros(0, dtype=ROW)
        self._taken_count = 0

    def count_repeats(self, sent_count: int) -> int:
        """Number of repetitions among the first `sent_count` events."""
        return max(0, sent_count // REPEAT_EVERY - self.repeat_after // REPEAT_EVERY)

    def take(self, count: int, *, now: datetime) -> Rows:
        """The next events; new ones occurred at `now`."""
        held = len(self._last)
        rows = np.concatenate([self._last, self._make(count, now)])
        places = np.arange(self._taken_count, self._taken_count + count)
        is_repeat = (places % REPEAT_EVERY == _POSITION_OF_REPEATS) & (places >= self.repeat_after)
        repeats = np.flatnonzero(is_repeat) + held
        rows[repeats] = rows[repeats - self.repeat_after]
        self._last = rows[-self.repeat_after :]
        self._taken_count += count
        return rows[held:]

    def _make(self, count: int, now: datetime) -> Rows:
        rows = np.zeros(count, dtype=ROW)
        rows["id"] = _make_ids(self._rng, count, now)
        rows["video"] = np.searchsorted(self._shares, self._rng.random(count)).clip(max=VIDEO_COUNT - 1)
        rows["type"] = self._rng.choice(list(TYPE_SHARES), size=count, p=list(TYPE_SHARES.values()))
        rows["occurred_us"] = int(now.timestamp() * 1000) * 1000
        rows["value"] = np.where(rows["type"] == WATCH_TIME, self._rng.integers(1, 600, size=count) * VALUE_SCALE, 0)
        return rows


def build_posts(
    stream: EventStream, *, host: str, path: str, batch_size: int | None, token: str | None
) -> Iterator[bytes]:
    """Whole HTTP requests: lists of `batch_size` events, or single ones."""
    head = "".join(
        (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n",
            f"Authorization: Bearer {token}\r\n" if token else "",
            "Content-Length: ",
        )
    )
    while True:
        events = encode_events(stream.take(batch_size or _BLOCK, now=datetime.now(UTC)))
        for body in events if batch_size is None else [f"[{','.join(events)}]"]:
            yield f"{head}{len(body)}\r\n\r\n{body}".encode("ascii")


def encode_events(rows: Rows) -> list[str]:
    """The events as JSON objects."""
    digits = rows["id"].tobytes().hex()
    instants = {us: _format_instant(us) for us in np.unique(rows["occurred_us"]).tolist()}
    columns = zip(*(rows[name].tolist() for name in ("video", "type", "occurred_us", "value")), strict=True)
    return [
        f'{{"event_id":"{(d := digits[place * 32 : place * 32 + 32])[:8]}-{d[8:12]}-{d[12:16]}-{d[16:20]}-{d[20:]}",'
        f'"video_id":"{VIDEOS[video]}","event_type":"{TYPE_NAMES[type_id]}","occurred_at":"{instants[occurred_us]}"'
        + (f',"value":{value // VALUE_SCALE}}}' if type_id == WATCH_TIME else "}")
        for place, (video, type_id, occurred_us, value) in enumerate(columns)
    ]


def build_columns(rows: Rows, *, received_us: int) -> Columns:
    """The events as columns, with only the videos that occur."""
    videos, video_index = np.unique(rows["video"], return_inverse=True)
    return Columns(
        event_ids=np.ascontiguousarray(rows["id"]),
        occurred_us=rows["occurred_us"].astype(np.int64),
        received_us=np.full(len(rows), received_us, dtype=np.int64),
        type_ids=rows["type"].astype(np.uint16),
        values=rows["value"].astype(np.int64),
        video_index=video_index.astype(np.uint32),
        viewers=np.full(len(rows), NO_VIEWER, dtype=np.int64),
        videos=tuple(VIDEOS[number] for number in videos.tolist()),
    )


def _make_ids(rng: np.random.Generator, count: int, now: datetime) -> NDArray[Any]:
    raw = rng.integers(0, 256, size=(count, 16), dtype=np.uint8)
    raw[:, :6] = np.frombuffer(int(now.timestamp() * 1000).to_bytes(6, "big"), dtype=np.uint8)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x70
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    return np.frombuffer(raw.tobytes(), dtype="S16")


def _format_instant(us: int) -> str:
    return f"{datetime.fromtimestamp(us / 1_000_000, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
