"""Single events from daily cumulative counts, as arrays: growth, times, ids.

The same dataset, plan and nonce give the same events, byte for byte. The correct counts are computed from the same
arrays (`truth`), so events and truth always agree.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devtools.replay.dataset import COUNT_COLUMNS, Dataset
from devtools.replay.errors import BadReplayOption
from devtools.replay.nonce import Nonce

EVENT_TYPES = ("view", "like", "dislike", "comment")
"""The event type of each of COUNT_COLUMNS."""

MILLISECONDS_PER_SECOND = 1000


@dataclass(frozen=True, slots=True)
class TimelinePlan:
    """`scale` real views make one event; `day_length_seconds`: duration of a data day in the replay."""

    scale: int
    day_length_seconds: float
    seed: int
    max_events: int | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """n events, ascending by time. Every array has length n; `videos` and EVENT_TYPES give the indexes a meaning.

    `id_words` is (n, 2) uint64, the high word first; `occurred_ms` int64 milliseconds since 1970 UTC, equal to the time
    inside the id. `start_ms` (inclusive) and `end_ms` (exclusive) enclose every event.
    """

    videos: tuple[str, ...]
    video_index: NDArray[np.int64]
    type_index: NDArray[np.int64]
    occurred_ms: NDArray[np.int64]
    id_words: NDArray[np.uint64]
    start_ms: int
    end_ms: int

    def __len__(self) -> int:
        return len(self.occurred_ms)


def check_fits_window(
    plan: TimelinePlan, *, day_count: int, accept_window_seconds: float, sent_after_seconds: float
) -> None:
    """Raises BadReplayOption if the oldest event, sent `sent_after_seconds` after the last data day, is too old."""
    longest = max((accept_window_seconds - sent_after_seconds) // day_count, 0)
    if plan.day_length_seconds > longest:
        raise BadReplayOption(
            f"{day_count} days of {plan.day_length_seconds:.0f} s reach back further than the service accepts; "
            f"the longest day length is {longest:.0f} s"
        )


def plan_timeline(dataset: Dataset, *, plan: TimelinePlan, nonce: Nonce) -> Timeline:
    """Every event of a run. The last data day ends at the nonce's time."""
    videos = tuple(video.video_id for video in dataset.videos())
    growth = compute_growth(dataset, videos=videos, scale=plan.scale)
    video_cells, day_cells, type_cells = growth.nonzero()
    repeats = growth[video_cells, day_cells, type_cells]
    rng = np.random.default_rng([plan.seed, nonce.end_ms, nonce.salt])
    day_ms = round(plan.day_length_seconds * MILLISECONDS_PER_SECOND)
    start_ms = nonce.end_ms - growth.shape[1] * day_ms
    occurred_ms = start_ms + np.repeat(day_cells, repeats) * day_ms + rng.integers(0, day_ms, size=repeats.sum())
    order = np.argsort(occurred_ms, kind="stable")[: plan.max_events]
    occurred_ms = occurred_ms[order]
    return Timeline(
        videos=videos,
        video_index=np.repeat(video_cells, repeats)[order],
        type_index=np.repeat(type_cells, repeats)[order],
        occurred_ms=occurred_ms,
        id_words=create_version_7_ids(occurred_ms, rng=rng),
        start_ms=start_ms,
        end_ms=nonce.end_ms,
    )


def compute_growth(dataset: Dataset, *, videos: tuple[str, ...], scale: int) -> NDArray[np.int64]:
    """Events of each (video, day, type): the rise of `cumulative // scale` over the highest value seen before.

    A video starts from zero; a fall counts as no growth. So a video's events add up to its highest count // scale.
    """
    first_day = dataset.days()[0]
    video_codes = {video: code for code, video in enumerate(videos)}
    shape = (len(videos), dataset.day_span, len(COUNT_COLUMNS))
    scaled = np.zeros(shape, dtype=np.int64)
    for row in dataset.rows:
        cell = scaled[video_codes[row.video_id], (row.day - first_day).days]
        np.maximum(cell, [count // scale for count in row.counts], out=cell)
    highest = np.maximum.accumulate(scaled, axis=1)
    return np.diff(highest, axis=1, prepend=0)


def create_version_7_ids(occurred_ms: NDArray[np.int64], *, rng: np.random.Generator) -> NDArray[np.uint64]:
    """UUIDs of version 7 (RFC 9562, section 5.7) as (n, 2) words: 48 bits of time, version, 12 + 62 random bits."""
    random = rng.integers(0, 2**64, size=(len(occurred_ms), 2), dtype=np.uint64)
    high = occurred_ms.astype(np.uint64) << np.uint64(16) | np.uint64(0x7000) | random[:, 0] & np.uint64(0x0FFF)
    low = np.uint64(1 << 63) | random[:, 1] >> np.uint64(2)
    return np.stack([high, low], axis=1)
