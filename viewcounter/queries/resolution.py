"""Refusal of a query that needs finer rows than retention has left, instead of a silently wrong number. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NoReturn

from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import EPOCH, Interval, Period, floor_to
from viewcounter.queries.splits import QUARTER
from viewcounter.queries.tiers import Slice, Tier, find_expired
from viewcounter.storage.ranges import Horizon

_WITHIN_HOURS = frozenset({Interval.MINUTE, Interval.FIVE_MINUTES, Interval.QUARTER_HOUR, Interval.HALF_HOUR})
_FINE_INTERVALS = {Tier.HOUR: _WITHIN_HOURS, Tier.DAY: _WITHIN_HOURS | {Interval.HOUR}}


def check_parts(slices: Sequence[Slice], horizon: Horizon, *, period: Period, interval: Interval | None) -> None:
    """For aggregates, which outlive their minutes by quarter hours: raises InvalidQuery `resolution_expired`, with the
    parameter to change and values that are possible."""
    expired = find_expired(slices, horizon)
    if expired is None:
        return
    reason = f"needs minutes before {horizon.minutes_since:%Y-%m-%dT%H:%MZ}, where only quarter hours are kept"
    if interval in (Interval.MINUTE, Interval.FIVE_MINUTES):
        raise InvalidQuery("interval", "resolution_expired", f"{reason}: use intervals of 15m or more")
    for field, edge in (("start_time", period.start), ("end_time", period.end)):
        if edge is not None and edge < horizon.minutes_since and (edge - EPOCH) % QUARTER:
            message = f"{reason}: the nearest edges are {_format_edges(edge, QUARTER)}"
            raise InvalidQuery(field, "resolution_expired", message)
    message = f"{reason}: the buckets of this zone begin between them; use UTC, or a later start_time"
    raise InvalidQuery("tz", "resolution_expired", message)


def refuse_lost_day(day: datetime, *, period: Period, interval: Interval | None) -> NoReturn:
    """For a UTC day that is kept as a whole, or by hours, where finer parts of it are asked for."""
    reason = f"needs parts of {day:%Y-%m-%d} (UTC), of which only the whole, or its hours, are kept"
    if interval in _FINE_INTERVALS[Tier.DAY]:
        raise InvalidQuery("interval", "not_available", f"{reason}: use intervals of one day or more")
    for field, edge in (("start_time", period.start), ("end_time", period.end)):
        if edge is not None and floor_to(edge, Tier.DAY.width) == day != edge:
            message = f"{reason}: the nearest edges are {_format_edges(edge, Tier.DAY.width)}"
            raise InvalidQuery(field, "not_available", message)
    raise InvalidQuery("tz", "not_available", f"{reason}: use UTC, or a later start_time")


def check_resolution(slices: Sequence[Slice], horizon: Horizon, *, period: Period, interval: Interval | None) -> None:
    """For sketches: raises InvalidQuery `resolution_expired`, with the parameter to change and possible values."""
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
                field, "resolution_expired", f"{reason}: the nearest edges are {_format_edges(edge, left.width)}"
            )
    message = f"{reason}: the buckets of this zone begin between them; use UTC, or a later start_time"
    raise InvalidQuery("tz", "resolution_expired", message)


def _format_edges(instant: datetime, width: timedelta) -> str:
    lower = floor_to(instant, width)
    return f"{lower:%Y-%m-%dT%H:%MZ} and {lower + width:%Y-%m-%dT%H:%MZ}"
