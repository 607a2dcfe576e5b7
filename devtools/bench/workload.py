"""Log entries of a loaded gateway: group commits of events whose videos follow Zipf's law."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.events.partition import get_partition

VIDEO_COUNT = 20_000
ZIPF_EXPONENT = 1.0
TYPE_SHARES = {1: 0.85, 2: 0.10, 4: 0.03, 6: 0.02}
"""Event type ids of a new cluster: view, like, comment, watch_time."""
WATCH_TIME = 6
EVENTS_A_COMMIT = 1000
"""Events of a few milliseconds at 60,000 events/s from several gateways."""
ARRIVAL_EVENTS_A_SECOND = 60_000
MOST_DELAY_US = 2_000_000
"""Maximum delay between an event and its receipt."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One group commit: packed entries by partition."""

    entries: dict[int, bytes]
    event_count: int


def generate_commits(*, event_count: int, partition_count: int, until_us: int, seed: int) -> Iterator[Commit]:
    """Events with distinct ids, received at ARRIVAL_EVENTS_A_SECOND, the last one at `until_us`."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, VIDEO_COUNT + 1) ** ZIPF_EXPONENT
    shares /= shares.sum()
    videos = [f"video-{number:06d}" for number in range(VIDEO_COUNT)]
    partitions = np.array([get_partition(video, partition_count=partition_count) for video in videos])
    first_us = until_us - event_count * 1_000_000 // ARRIVAL_EVENTS_A_SECOND
    for start in range(0, event_count, EVENTS_A_COMMIT):
        size = min(EVENTS_A_COMMIT, event_count - start)
        received_us = first_us + start * 1_000_000 // ARRIVAL_EVENTS_A_SECOND
        chosen = rng.choice(VIDEO_COUNT, size=size, p=shares)
        types = rng.choice(list(TYPE_SHARES), size=size, p=list(TYPE_SHARES.values()))
        occurred = received_us - rng.integers(0, MOST_DELAY_US, size=size)
        values = np.where(types == WATCH_TIME, rng.integers(1, 600, size=size) * 1000, 1000)
        ids = _make_version_4_ids(rng, size)
        by_partition: dict[int, list[AcceptedEvent]] = {}
        rows = zip(
            partitions[chosen].tolist(),
            chosen.tolist(),
            types.tolist(),
            occurred.tolist(),
            values.tolist(),
            ids,
            strict=True,
        )
        for partition, video, type_id, occurred_us, value, event_id in rows:
            event = AcceptedEvent(event_id, videos[video], type_id, occurred_us, value)
            by_partition.setdefault(partition, []).append(event)
        yield Commit({p: pack_entry(events, received_us=received_us) for p, events in by_partition.items()}, size)


def _make_version_4_ids(rng: np.random.Generator, count: int) -> list[bytes]:
    raw = rng.integers(0, 256, size=(count, 16), dtype=np.uint8)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    return [row.tobytes() for row in raw]
