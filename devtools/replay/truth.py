"""The correct counts of a run, computed from its own events."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devtools.replay.timeline import EVENT_TYPES, Timeline

MILLISECONDS_PER_HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of each (video, event type), and of each (close video, event type, hour)."""

    totals: NDArray[np.int64]
    hours: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TruthSubject:
    """The compared counts: totals of `videos`, and each of `hours` (hours since 1970 UTC) of `close_videos`."""

    videos: tuple[str, ...]
    close_videos: tuple[str, ...]
    hours: range


def count_events(timeline: Timeline) -> NDArray[np.int64]:
    """Events of each (video, event type)."""
    shape = (len(timeline.videos), len(EVENT_TYPES))
    cells = np.ravel_multi_index((timeline.video_index, timeline.type_index), shape)
    return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)


def get_hours(timeline: Timeline) -> range:
    """The clock hours of the run, as hours since 1970 UTC."""
    return range(timeline.start_ms // MILLISECONDS_PER_HOUR, (timeline.end_ms - 1) // MILLISECONDS_PER_HOUR + 1)


def count_events_by_hour(timeline: Timeline, *, videos: NDArray[np.int64]) -> NDArray[np.int64]:
    """Events of each (video of `videos`, event type, hour of `get_hours`)."""
    hours = get_hours(timeline)
    rank = np.full(len(timeline.videos), -1, dtype=np.int64)
    rank[videos] = np.arange(len(videos))
    chosen = rank[timeline.video_index] >= 0
    shape = (len(videos), len(EVENT_TYPES), len(hours))
    cells = np.ravel_multi_index(
        (
            rank[timeline.video_index[chosen]],
            timeline.type_index[chosen],
            timeline.occurred_ms[chosen] // MILLISECONDS_PER_HOUR - hours.start,
        ),
        shape,
    )
    return np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape)


def choose_videos(timeline: Timeline, *, count: int, seed: int) -> NDArray[np.int64]:
    """Indexes of up to `count` videos to compare by hour, ascending: the busiest half, the rest drawn by `seed`."""
    totals = np.bincount(timeline.video_index, minlength=len(timeline.videos))
    busiest = np.argsort(-totals, kind="stable")
    head, tail = busiest[: (count + 1) // 2], busiest[(count + 1) // 2 :]
    drawn = np.random.default_rng(seed).permutation(tail)[: count - len(head)]
    return np.sort(np.concatenate([head, drawn]))
