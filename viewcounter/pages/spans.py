"""Periods that can be chosen, each beside the one before it. Pure.

Up to a week they end with the current hour; longer ones consist of whole days and end yesterday, so that both halves
are as long and rows of days answer them.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from viewcounter.queries.calendars import get_first_instant
from viewcounter.queries.ranges import Interval, Period, floor_to

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Span:
    """`hours` or `days` long, of which a chart shows one bar each `interval`; a bar joins `group` of them."""

    name: str
    label: str
    hours: int = 0
    days: int = 0
    interval: Interval = Interval.HOUR
    group: int = 1

    def plan(self, *, now: datetime, zone: tzinfo) -> tuple[Period, Period]:
        """The period, and the one before it."""
        if self.hours:
            end = floor_to(now.astimezone(UTC), HOUR) + HOUR
            middle, start = (end - timedelta(hours=self.hours * part) for part in (1, 2))
        else:
            today = now.astimezone(zone).date()
            end, middle, start = (get_first_instant(today - timedelta(days=self.days * n), zone) for n in (0, 1, 2))
        return Period(middle, end), Period(start, middle)


SPANS = (
    Span("24h", "24 hours", hours=24),
    Span("7d", "7 days", hours=7 * 24, group=6),
    Span("28d", "28 days", days=28, interval=Interval.DAY),
    Span("90d", "90 days", days=90, interval=Interval.DAY),
    Span("365d", "365 days", days=365, interval=Interval.DAY, group=7),
)
DEFAULT_SPAN = SPANS[1]


def get_span(name: str) -> Span:
    """The one of this name, else the default."""
    return next((span for span in SPANS if span.name == name), DEFAULT_SPAN)
