"""Options of a read besides its content: consistency, freshness, and whether its route is explained."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clusterproxy.freshness import FreshnessRequirement, Progress, ProgressProbe
from clusterproxy.plan import Consistency
from viewcounter.eventlog.interface import Position
from viewcounter.storage.leases import REQUEST_WATERMARKS
from viewcounter.storage.partitions import READ_STATES
from viewcounter.storage.reads import Seen


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """`min_positions` by partition, as the gateway acknowledged them; partitions that are not read are ignored.

    `min_position` is for a read of one video, which has one partition. `explains`: the answer's meta has the route.
    """

    consistency: Consistency = Consistency.EVENTUAL
    max_staleness_seconds: float | None = None
    min_position: Position | None = None
    min_positions: Mapping[int, Position] = field(default_factory=dict)
    explains: bool = False

    @property
    def bypasses_cache(self) -> bool:
        """Whether all rows must be read after the request."""
        return self.consistency is not Consistency.EVENTUAL


DEFAULT = ReadOptions()


def parse_progress(rows: Sequence[Mapping[str, Any]]) -> dict[int, Progress]:
    """From rows of any read statement: each carries its partition's state."""
    progress: dict[int, Progress] = {}
    for row in rows:
        if row["partition"] not in progress:
            seen = Seen.from_row(row)
            if seen is not None:
                lost = tuple((Position.parse(loss.after), Position.parse(loss.through)) for loss in seen.losses)
                progress[row["partition"]] = Progress(Position.parse(seen.position), seen.watermark, lost)
    return progress


PROBE = ProgressProbe(query=READ_STATES, parse=parse_progress, request=REQUEST_WATERMARKS)


def find_requirement(options: ReadOptions, *, partitions: Collection[int] | None) -> FreshnessRequirement | None:
    """For the cluster proxy; None if any rows are fresh enough. `partitions`: those that are read, None for all."""
    if options is DEFAULT:
        return None  # most reads: nothing to compute
    wanted = dict(options.min_positions)
    if options.min_position is not None and partitions is not None:
        wanted = dict.fromkeys(partitions, options.min_position)
    if partitions is not None:
        wanted = {partition: position for partition, position in wanted.items() if partition in partitions}
    if not wanted and options.max_staleness_seconds is None and options.consistency is not Consistency.QUORUM:
        return None
    return FreshnessRequirement(PROBE, min_positions=wanted, max_staleness_seconds=options.max_staleness_seconds)
