"""Exponential backoff: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/"""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pause doubles with each failure in a row, from `first_seconds` up to `max_seconds`.

    `jitter` is the random part of it, so that many who failed together do not come back together: 1 is full jitter,
    with 0.5 at least half of the pause is kept, 0 has none.
    """

    first_seconds: float
    max_seconds: float
    jitter: float = 1.0

    def compute_seconds(self, failures: int, *, rng: Callable[[], float] = random.random) -> float:
        """`failures` in a row, from 1."""
        longest = min(self.max_seconds, self.first_seconds * 2.0 ** min(failures - 1, 30))
        return longest * (1.0 - self.jitter * rng())
