"""Settings of sketches (unique viewers, percentiles), part of `viewcounter.config`."""

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings

READ_MAX_EVENTS = 500_000
READ_MAX_PIECES = 500
READ_MAX_BYTES = 32 * 1024 * 1024


class SketchConfig(BaseSettings):
    """Sketches: unique viewers and percentiles."""

    sketch_interval_seconds: PositiveFloat = Field(5.0, description="beat looks for buckets whose sketches are due")
    sketch_tasks_max: PositiveInt = Field(
        1, description="and queues so many tasks: more need more workers, or drains wait for them"
    )
    sketch_budget_seconds: PositiveFloat = Field(3.0, description="a task that makes sketches ends after this")
    sketch_max_events: PositiveInt = Field(
        200_000, description="raw events read at once for sketches; of a video with more, those of a minute"
    )
    sketch_max_keys: PositiveInt = Field(500, description="sketches of hours made, or put together to days, at once")
    sketch_read_max_events: PositiveInt = Field(
        READ_MAX_EVENTS, description="raw events that an answer reads from a shard where there are no sketches yet"
    )
    sketch_read_max_pieces: PositiveInt = Field(
        READ_MAX_PIECES, description="and pieces of time in which it looks for them"
    )
    sketch_read_max_bytes: PositiveInt = Field(
        READ_MAX_BYTES, description="sketches that an answer reads from a shard, 7 kB at most for each bucket"
    )
