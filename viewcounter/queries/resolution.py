"""Refusal of a query that needs finer rows than retention has left, instead of a silently wrong number. Pure."""

from collections.abc import Sequence
from datetime import datetime

from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import EPOCH, Interval, Period, floor_to
from viewcounter.queries.tiers import Slice, Tier, find_expired
from viewcounter.storage.ranges import Horizon

_WITHIN_HOURS = frozenset({Interval.MINUTE, Interval.FIVE_MINUTES, Interval.QUARTER_HOUR, Interval.HALF_HOUR})
_FINE_INTERVALS = {Tier.HOUR: _WITHIN_HOURS, Tier.DAY: _WITHIN_HOURS | {Interval.HOUR}}


def check_resolution(slices: Sequence[Slice], horizon: Horizon, *, period: Period, interval: Interval | None) -> None:
    """Raises InvalidQuery `resolution_expired`, with the parameter to change and values that are possible."""
    expired = find_expired(slices, horizon)
    if expired is None:
        return
    has_hours = expired.tier is Tier.MINUTE and floor_to(expired.start, Tier.HOUR.width) >= horizon.hours_since
    left = Tier.HOUR if has_hours else Tier.DAY
    since = horizon.minutes_since if expired.tier is Tier.MINUTE else horizon.hours_since
    reason = f"needs {expired.tier}s before {since:%Y-%m-%dT%H:%MZ}, where only {left}s are kept"
    if interval is not None and interval in _FINE_INTERVALS[left]:
        raise InvalidQuery("interval", "resolution_expired", f"{reason}: use intervals of one {left} or more")
    for field, edge, own in (("start_time", expired.start, period.start), ("end_time", expired.end, period.end)):
        if edge == own and (edge - EPOCH) % left.width:
            raise InvalidQuery(
                field, "resolution_expired", f"{reason}: the nearest edges are {_format_edges(edge, left)}"
            )
    message = f"{reason}: the buckets of this zone begin between them; use UTC, or a later start_time"
    raise InvalidQuery("tz", "resolution_expired", message)


def _format_edges(instant: datetime, tier: Tier) -> str:
    lower = floor_to(instant, tier.width)
    return f"{lower:%Y-%m-%dT%H:%MZ} and {lower + tier.width:%Y-%m-%dT%H:%MZ}"
