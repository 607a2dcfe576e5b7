"""The order in which a run sends its events: as they occurred, some twice, with invalid ones in between; in batches.

Planned on arrays for the whole run; the text of a batch is built when a sender takes it, so a run needs memory for its
arrays and a few batches only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from devtools.replay.bad_events import Spoiler
from devtools.replay.timeline import EVENT_TYPES, Timeline, create_version_7_ids

RESEND_LAG_BATCHES = 20
"""A duplicate follows its original by one to this many batches."""

_HEX_PAIRS = np.array([list(f"{byte:02x}".encode()) for byte in range(256)], dtype=np.uint8)
_UUID_HYPHENS = [8, 13, 18, 23]
_UUID_DIGITS = [column for column in range(36) if column not in _UUID_HYPHENS]


class WireEvent(msgspec.Struct, frozen=True, gc=False):
    """An event in the format of the API, with all fields as text."""

    event_id: str
    video_id: str
    event_type: str
    occurred_at: str


@dataclass(frozen=True, slots=True)
class Batch:
    """`bad`: the indexes of `items` that must be refused, with their kinds."""

    items: tuple[object, ...]
    bad: dict[int, str]


@dataclass(frozen=True, slots=True)
class Stream:
    """The items to send, in order. `event`: index into the timeline; an invalid item is made from that event.

    Invariant: a duplicate is in a later batch than its original. The first `main_count` items are batched alone,
    so that the duplicates after them start a new batch.
    """

    event: NDArray[np.int64]
    is_duplicate: NDArray[np.bool_]
    is_bad: NDArray[np.bool_]
    main_count: int

    def __len__(self) -> int:
        return len(self.event)


def plan_stream(
    event_count: int, *, duplicate_share: float, bad_share: float, batch_events: int, rng: np.random.Generator
) -> Stream:
    """Shares of `event_count` are rounded down; a share above zero gives at least one."""
    originals = np.arange(event_count)
    duplicates = rng.choice(event_count, size=_share_of(event_count, duplicate_share), replace=False)
    lags = rng.integers(batch_events, RESEND_LAG_BATCHES * batch_events, size=len(duplicates), endpoint=True)
    bad = rng.integers(0, event_count, size=_share_of(event_count, bad_share))
    places = np.concatenate([originals, duplicates + lags, bad])
    kinds = np.repeat([0, 1, 2], [event_count, len(duplicates), len(bad)])
    order = np.argsort(places, kind="stable")
    return Stream(
        event=np.concatenate([originals, duplicates, bad])[order],
        is_duplicate=kinds[order] == 1,
        is_bad=kinds[order] == 2,
        main_count=int(np.count_nonzero(places < event_count)),
    )


def build_batches(
    stream: Stream, *, timeline: Timeline, batch_events: int, spoilers: dict[str, Spoiler], rng: np.random.Generator
) -> Iterator[Batch]:
    """The batches of a run, built one at a time; the kinds of invalid events take turns."""
    names = tuple(spoilers)
    bad_before = 0
    for rows in _cut(stream, batch_events=batch_events):
        events = stream.event[rows]
        bad_places = stream.is_bad[rows].nonzero()[0]
        id_words = timeline.id_words[events]
        # New ids: with the id of a valid event, an accepted invalid one would look like its duplicate.
        id_words[bad_places] = create_version_7_ids(timeline.occurred_ms[events[bad_places]], rng=rng)
        items: list[object] = list(_build_wire_events(timeline, events=events, id_words=id_words))
        bad = {}
        for turn, place in enumerate(bad_places.tolist(), start=bad_before):
            bad[place] = names[turn % len(names)]
            items[place] = spoilers[bad[place]](msgspec.structs.asdict(items[place]))  # type: ignore[arg-type]
        bad_before += len(bad)
        yield Batch(tuple(items), bad=bad)


def format_uuids(id_words: NDArray[np.uint64]) -> list[str]:
    """The canonical text of (n, 2) words, all at once."""
    id_bytes = np.frombuffer(id_words.astype(">u8").tobytes(), dtype=np.uint8).reshape(-1, 16)
    text = np.full((len(id_bytes), 36), ord("-"), dtype=np.uint8)
    text[:, _UUID_DIGITS] = _HEX_PAIRS[id_bytes].reshape(-1, 32)
    return text.view("S36").ravel().astype("U36").tolist()


def _build_wire_events(
    timeline: Timeline, *, events: NDArray[np.int64], id_words: NDArray[np.uint64]
) -> Iterator[WireEvent]:
    times = np.datetime_as_string(timeline.occurred_ms[events].astype("datetime64[ms]"), timezone="UTC").tolist()
    videos = [timeline.videos[index] for index in timeline.video_index[events].tolist()]
    types = [EVENT_TYPES[index] for index in timeline.type_index[events].tolist()]
    return map(WireEvent, format_uuids(id_words), videos, types, times)


def _cut(stream: Stream, *, batch_events: int) -> Iterator[slice]:
    for first, end in ((0, stream.main_count), (stream.main_count, len(stream))):
        for start in range(first, end, batch_events):
            yield slice(start, min(start + batch_events, end))


def _share_of(count: int, share: float) -> int:
    return max(int(count * share), 1) if count and share > 0 else 0
