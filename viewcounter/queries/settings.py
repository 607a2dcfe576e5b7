"""Settings of reads of sketches."""

from dataclasses import dataclass

from runtime.settings import same_as, setting


@dataclass(frozen=True, slots=True)
class SketchLimits:
    """Unique viewers and percentiles: what one shard may read for an answer."""

    max_events: int = setting(
        500_000, "Maximum number of raw events read from one shard for an answer without sketches; beyond it 503."
    )
    max_pieces: int = setting(
        500, "Maximum number of time spans of raw events read from one shard for an answer; beyond it 503."
    )
    max_bytes: int = setting(
        32 * 1024 * 1024,
        "Maximum size of the sketches read from one shard for an answer, up to 7 kB for each bucket; beyond it 503.",
    )
    future_seconds: int = same_as("accept", "future_seconds", default=300)
