"""Memory of the log server: how much is in use, and when it will be full."""

from collections import deque
from dataclasses import dataclass

from viewcounter.eventlog.interface import Usage

WINDOW_SECONDS = 120.0
"""Length of the readings over which the growth is computed: longer than between two trims."""
SAMPLE_SECONDS = 5.0
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class LogMemory:
    """`full_seconds`: time until all of `max_bytes` is in use, at the present growth; None while it does not grow."""

    used_bytes: int
    max_bytes: int
    full_seconds: float | None

    @property
    def used_share(self) -> float:
        return self.used_bytes / self.max_bytes


class UsageTrend:
    """Not thread-safe."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, usage: Usage, *, at: float) -> LogMemory | None:
        """`at`: seconds of a monotonic clock. None: the server has no memory limit."""
        samples = self._samples
        while samples and at - samples[0][0] > WINDOW_SECONDS:
            samples.popleft()
        if not samples or at - samples[-1][0] >= SAMPLE_SECONDS:
            samples.append((at, usage.used_bytes))
        if usage.max_bytes is None:
            return None
        first_at, first_bytes = samples[0]
        growth = (usage.used_bytes - first_bytes) / (at - first_at) if at - first_at >= SAMPLE_SECONDS else 0.0
        left_bytes = max(0, usage.max_bytes - usage.used_bytes)
        return LogMemory(usage.used_bytes, usage.max_bytes, left_bytes / growth if growth > 0 else None)


def describe_usage(memory: LogMemory) -> str:
    """How much is in use, and when it will be full."""
    text = f"{memory.used_bytes / MIB:.1f} of {memory.max_bytes / MIB:.1f} MiB of the log server's memory are in use"
    return text if memory.full_seconds is None else f"{text}, full in about {describe_duration(memory.full_seconds)}"


def describe_duration(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
