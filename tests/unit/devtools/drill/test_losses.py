"""Whether what a drill has lost is what the service has reported."""

from uuid import UUID

from devtools.drill.load import Token
from devtools.drill.losses import NOTHING_LOST, judge_losses

ONE, TWO = UUID(int=1), UUID(int=2)


def loss(partition, after, through, outcome=""):
    return {"partition": partition, "after_position": after, "through_position": through, "outcome": outcome}


def judge(tokens, counted, *rows):
    report, lost = judge_losses(tokens, counted, rows)
    return report, set(lost)


def test_nothing_is_lost_where_everything_is_counted():
    assert judge({ONE: [Token(0, "1-5")]}, {ONE}) == (NOTHING_LOST, set())


def test_an_uncounted_event_in_a_reported_range_is_excused():
    report, lost = judge({ONE: [Token(0, "1-5")], TWO: [Token(0, "1-3")]}, {TWO}, loss(0, "1-4", "2-0"))
    assert lost == {ONE}
    assert (report.ranges, report.lost, report.unreported, report.idle_ranges) == (1, 1, 0, 0)


def test_an_uncounted_event_outside_every_range_is_unreported():
    for token in (Token(0, "1-4"), Token(0, "2-1"), Token(1, "1-5"), Token(0, "")):
        report, lost = judge({ONE: [token]}, set(), loss(0, "1-4", "2-0"))
        assert (report.unreported, report.idle_ranges, lost) == (1, 1, set())


def test_one_acknowledgement_outside_a_range_is_a_promise():
    tokens = {ONE: [Token(0, "1-5"), Token(0, "2-1")]}
    assert judge(tokens, set(), loss(0, "1-4", "2-0"))[0].unreported == 1


def test_a_salvaged_range_excuses_nothing():
    report, _ = judge({ONE: [Token(0, "1-5")]}, set(), loss(0, "1-4", "2-0", "salvaged"))
    assert (report.ranges, report.salvaged, report.unreported) == (0, 1, 1)


def test_a_counted_event_in_a_range_is_a_report_too_many():
    report, lost = judge({ONE: [Token(0, "1-5")]}, {ONE}, loss(0, "1-4", "2-0"))
    assert (report.reported_though_counted, report.idle_ranges, lost) == (1, 1, set())
    assert "1 events reported although they are counted" in report.text
