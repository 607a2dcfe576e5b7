"""Posts of distinct events that cost next to nothing to generate: everything but time and ids is prepared beforehand,
and the variable text is the same at each place of a body, so that one `join` inserts it.
"""

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from devtools.bench.workload import TYPE_SHARES, VIDEO_COUNT, WATCH_TIME, ZIPF_EXPONENT

TEMPLATE_EVENTS = 100_000
"""Videos are drawn for this many events, whatever the size of a batch; then they repeat with other ids."""
_TYPE_NAMES = {1: "view", 2: "like", 4: "comment", 6: "watch_time"}
_SCRAMBLE = 0x9E3779B1
"""Odd, so multiplying by it modulo 2^32 is a permutation: ids in random order."""
_SECOND = len("2026-01-01T00:00:00Z")
_IDS = '","event_id":"'
_DIGITS = 8


def make_posts(
    *, host: str, token: str, batch_events: int, seed: int, template_events: int = TEMPLATE_EVENTS
) -> Iterator[bytes]:
    """Endless requests of `batch_events` events: videos by Zipf's law, times of the present second, ids unique for this
    seed. A single event is posted as an object, several as a list."""
    templates = _lay_out(host, token, batch_events, seed, max(1, template_events // batch_events))
    return _fill_in(itertools.cycle(templates))


def _fill_in(templates: Iterator[list[bytes]]) -> Iterator[bytes]:
    second, text = 0, ""
    for number in itertools.count():
        now = int(time.time())
        if now != second:
            second, text = now, datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") + _IDS
        mark = f"{text}{number * _SCRAMBLE & 0xFFFFFFFF:0{_DIGITS}x}"
        yield mark.encode().join(next(templates))


def _lay_out(host: str, token: str, batch_events: int, seed: int, count: int) -> list[list[bytes]]:
    """The texts between the variable parts."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, VIDEO_COUNT + 1) ** ZIPF_EXPONENT
    size = batch_events * count
    videos = rng.choice(VIDEO_COUNT, size=size, p=shares / shares.sum()).tolist()
    types = rng.choice(list(TYPE_SHARES), size=size, p=list(TYPE_SHARES.values())).tolist()
    seconds = rng.integers(1, 600, size=size).tolist()
    tails = [raw.tobytes().hex() for raw in rng.integers(0, 256, size=(size, 12), dtype=np.uint8)]
    events = [
        (_describe(video, kind, value), _make_tail(tail))
        for video, kind, value, tail in zip(videos, types, seconds, tails, strict=True)
    ]
    return [_wrap(host, token, events[n : n + batch_events]) for n in range(0, size, batch_events)]


def _describe(video: int, kind: int, seconds: int) -> str:
    value = f',"value":{seconds}' if kind == WATCH_TIME else ""
    return f'{{"video_id":"video-{video:06d}","event_type":"{_TYPE_NAMES[kind]}"{value},"occurred_at":"'


def _make_tail(digits: str) -> str:
    """The rest of a version 4 id after its first eight digits, and the end of the event."""
    return f'-{digits[:4]}-4{digits[4:7]}-8{digits[7:10]}-{digits[10:22]}"}}'


def _wrap(host: str, token: str, events: list[tuple[str, str]]) -> list[bytes]:
    opening, closing = ("", "") if len(events) == 1 else ("[", "]")
    begins, ends = [begin for begin, _ in events], [end for _, end in events]
    texts = [
        opening + begins[0],
        *(f"{end},{begin}" for end, begin in zip(ends, begins[1:], strict=False)),
        ends[-1] + closing,
    ]
    length = sum(map(len, texts)) + len(events) * (_SECOND + len(_IDS) + _DIGITS)
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    return [(head + texts[0]).encode(), *(text.encode() for text in texts[1:])]
