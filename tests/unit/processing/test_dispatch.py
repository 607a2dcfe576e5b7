from datetime import UTC, datetime

from viewcounter.eventlog.interface import START, Position, Tails
from viewcounter.processing.dispatch import plan_backlog

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_partitions_are_unread_idle_or_lost_by_their_position_in_the_log():
    tails = Tails(NOW, {1: Position(9, 1), 2: Position(9, 0), 3: Position(8, 5)})
    positions = {1: Position(9, 0), 2: Position(9, 0), 3: Position(9, 0), 4: START}
    backlog = plan_backlog(positions, tails, missing_shards=[2])
    assert (backlog.unread, backlog.idle, backlog.lost) == ([1], {2: "9-0", 4: "0-0"}, {3: Position(9, 0)})
