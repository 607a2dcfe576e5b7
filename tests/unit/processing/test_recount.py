"""From differences to repairs."""

from datetime import UTC, datetime

from viewcounter.maintenance.recount import plan_repairs
from viewcounter.storage.audit import Difference, Differences, Figures
from viewcounter.storage.recount import Repair, RepairScope

ONE = Figures(1, 1, 1, 1)


def differ(tier, video, start=None):
    return Difference(tier, 3, video, 1, start, ONE, None)


def at(hour, minute=0, second=0):
    return datetime(2026, 1, 31, hour, minute, second, tzinfo=UTC)


def plan(*rows):
    return plan_repairs(Differences(rows, {}))


def test_minutes_of_an_hour_of_a_video_are_one_repair():
    assert plan(
        differ("minute", "b", at(5, 1)),
        differ("minute", "a", at(7, 59)),
        differ("minute", "a", at(7, 0)),
        differ("minute", "a", at(6, 30, 17)),
        differ("hour", "a", at(2)),
        differ("total", "c"),
    ) == [
        Repair(3, "a", RepairScope.HOUR, at(6)),
        Repair(3, "a", RepairScope.HOUR, at(7)),
        Repair(3, "b", RepairScope.HOUR, at(5)),
    ]


def test_rolled_buckets_are_repaired_by_day_and_totals_alone():
    assert plan(
        differ("hour", "a", at(2)), differ("hour", "a", at(9)), differ("day", "a", at(0)), differ("total", "a")
    ) == [Repair(3, "a", RepairScope.DAY, at(0)), Repair(3, "a", RepairScope.TOTAL)]


def test_no_differences_need_no_repairs():
    assert plan() == []
