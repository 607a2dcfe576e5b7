"""Which acknowledged events are lost, and whether the service has reported each of them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from devtools.drill.load import Token
from viewcounter.eventlog.interface import Position

READ_LOSSES = (
    "SELECT l.partition, l.after_position, l.through_position, l.reason, l.outcome FROM log_loss AS l"
    " JOIN partition_state AS s USING (partition) WHERE s.state <> 'moved'"
)


@dataclass(frozen=True, slots=True)
class LossReport:
    """`ranges`: reported and not salvaged. `lost`: acknowledged events that were not counted and lie in one.
    `unreported`: not counted, and in none; must be none. `idle_ranges`: ranges without a lost event of the load.
    `reported_though_counted`: counted events whose every acknowledgement lies in a range: their senders are told that
    they may be lost."""

    ranges: int
    salvaged: int
    lost: int
    unreported: int
    idle_ranges: int
    reported_though_counted: int

    @property
    def text(self) -> str:
        """Empty if nothing was reported or salvaged."""
        if not (self.ranges or self.salvaged):
            return ""
        return (
            f"{self.lost:,} acknowledged events lost, each in one of {self.ranges} reported ranges of the log; "
            f"{self.unreported} in none; {self.idle_ranges} ranges without a lost event, "
            f"{self.reported_though_counted:,} events reported although they are counted; {self.salvaged} salvaged"
        )


NOTHING_LOST = LossReport(0, 0, 0, 0, 0, 0)


def judge_losses(
    tokens: Mapping[UUID, Sequence[Token]], counted: Collection[UUID], rows: Iterable[Mapping[str, Any]]
) -> tuple[LossReport, frozenset[UUID]]:
    """Also the lost and reported events, which cannot be asked for. `rows` of READ_LOSSES."""
    listed = list(rows)
    by_partition: dict[int, list[tuple[Position, Position]]] = {}
    for row in listed:
        if row["outcome"] != "salvaged":
            ends = Position.parse(row["after_position"]), Position.parse(row["through_position"])
            by_partition.setdefault(row["partition"], []).append(ends)
    ranges = {(partition, *ends) for partition, found in by_partition.items() for ends in found}
    used: set[tuple[int, Position, Position]] = set()
    lost: set[UUID] = set()
    unreported = reported_though_counted = 0
    for event, places in tokens.items():
        hits = [_find_range(place, by_partition) for place in places]
        is_reported = all(hit is not None for hit in hits)
        if event in counted:
            reported_though_counted += is_reported
        elif is_reported:
            lost.add(event)
            used.update(hit for hit in hits if hit is not None)
        else:
            unreported += 1
    report = LossReport(
        ranges=len(ranges),
        salvaged=sum(row["outcome"] == "salvaged" for row in listed),
        lost=len(lost),
        unreported=unreported,
        idle_ranges=len(ranges - used),
        reported_though_counted=reported_though_counted,
    )
    return report, frozenset(lost)


def _find_range(
    token: Token, by_partition: Mapping[int, Sequence[tuple[Position, Position]]]
) -> tuple[int, Position, Position] | None:
    if not token.position:
        return None
    position = Position.parse(token.position)
    for after, through in by_partition.get(token.partition, ()):
        if after < position <= through:
            return token.partition, after, through
    return None
