"""What a drain has applied."""

from dataclasses import dataclass, field

from runtime.metrics import EVENTS_FLUSHED
from viewcounter.processing.batch import PreparedBatch


@dataclass(slots=True)
class DrainReport:
    """Result of a drain. `positions` (`term-seq`) by partition; counts are numbers of events."""

    positions: dict[int, str] = field(default_factory=dict)
    flush_count: int = 0
    counted: int = 0
    duplicate: int = 0
    conflict: int = 0
    dead_letter_count: int = 0
    caught_up: bool = False
    contended_count: int = 0

    def add(self, prepared: PreparedBatch) -> None:
        """A batch that has committed; also to the metrics."""
        self.positions[prepared.batch.partition] = prepared.batch.new_position
        self.counted += len(prepared.batch.counted)
        self.duplicate += prepared.duplicate_count
        self.conflict += prepared.conflict_count
        self.dead_letter_count += len(prepared.batch.dead_letters)
        for line in prepared.batch.ledger:
            EVENTS_FLUSHED.labels("counted").inc(line.counted)
            EVENTS_FLUSHED.labels("duplicate").inc(line.duplicate)
            EVENTS_FLUSHED.labels("conflict").inc(line.conflict)
            EVENTS_FLUSHED.labels("dead_lettered").inc(line.dead_lettered)
