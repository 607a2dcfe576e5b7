"""How long an instance takes to answer, as a mean in which old answers fade. Pure.

Weighted by time, not by number: a thousand answers in the last second count as the last second, whatever came before.
"""

import math
from typing import NamedTuple


class ResponseTime(NamedTuple):
    """`seconds` as of `at` (monotonic clock)."""

    seconds: float = 0.0
    at: float = 0.0


UNKNOWN = ResponseTime()


def observe(before: ResponseTime, seconds: float, *, now: float, fade_seconds: float) -> ResponseTime:
    """With one more answer that took `seconds`. After `fade_seconds` an answer has 1/e of its weight."""
    if before.at == 0.0:
        return ResponseTime(seconds, now)
    weight = math.exp(-max(0.0, now - before.at) / fade_seconds)
    return ResponseTime(before.seconds * weight + seconds * (1.0 - weight), now)


def estimate_seconds(known: ResponseTime, *, now: float, fade_seconds: float) -> float:
    """What an answer would take. Sinks while nobody asks, so that one that was slow is tried again."""
    return known.seconds * math.exp(-max(0.0, now - known.at) / fade_seconds)
