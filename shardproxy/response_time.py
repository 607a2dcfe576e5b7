"""Response time of an instance: a mean weighted exponentially by age. Pure.

Weighted by time, not by count: a thousand answers within a second weigh as much as that second.
"""

import math
from typing import NamedTuple


class ResponseTime(NamedTuple):
    """`seconds` as of `at` (monotonic clock)."""

    seconds: float = 0.0
    at: float = 0.0


UNKNOWN = ResponseTime()


def observe(before: ResponseTime, seconds: float, *, now: float, fade_seconds: float) -> ResponseTime:
    """Adds an answer that took `seconds`. After `fade_seconds` an answer has 1/e of its weight."""
    if before.at == 0.0:
        return ResponseTime(seconds, now)
    weight = math.exp(-max(0.0, now - before.at) / fade_seconds)
    return ResponseTime(before.seconds * weight + seconds * (1.0 - weight), now)


def estimate_seconds(known: ResponseTime, *, now: float, fade_seconds: float) -> float:
    """Expected seconds of an answer. Decays without new answers, so that an instance that was slow is tried again."""
    return known.seconds * math.exp(-max(0.0, now - known.at) / fade_seconds)
