"""What to say when a question needs finer rows than retention has kept. Pure; never a silently wrong number."""

from collections.abc import Sequence
from datetime import datetime

from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.ranges import EPOCH, Interval, Period, floor_to
from viewcounter.queries.tiers import Slice, Tier, find_expired
from viewcounter.storage.ranges import Horizon

_FINE_INTERVALS = {
    Tier.HOUR: {Interval.MINUTE, Interval.QUARTER_HOUR},
    Tier.DAY: {Interval.MINUTE, Interval.QUARTER_HOUR, Interval.HOUR},
}


def check_resolution(slices: Sequence[Slice], horizon: Horizon, *, period: Period, interval: Interval | None) -> None:
    """Raises InvalidQuery `resolution_expired` that names the parameter to change and what can be asked instead."""
    expired = find_expired(slices, horizon)
    if expired is None:
        return
    has_hours = expired.tier is Tier.MINUTE and floor_to(expired.start, Tier.HOUR.width) >= horizon.hours_since
    kept = Tier.HOUR if has_hours else Tier.DAY
    since = horizon.minutes_since if expired.tier is Tier.MINUTE else horizon.hours_since
    reason = f"needs {expired.tier}s before {since:%Y-%m-%dT%H:%MZ}, where only {kept}s are kept"
    if interval is not None and interval in _FINE_INTERVALS[kept]:
        raise InvalidQuery("interval", "resolution_expired", f"{reason}: ask for intervals of one {kept} or more")
    for field, edge, own in (("start_time", expired.start, period.start), ("end_time", expired.end, period.end)):
        if edge == own and (edge - EPOCH) % kept.width:
            raise InvalidQuery(
                field, "resolution_expired", f"{reason}: the nearest edges are {_name_edges(edge, kept)}"
            )
    message = f"{reason}: the buckets of this zone begin between them; ask in UTC, or from a later start_time"
    raise InvalidQuery("tz", "resolution_expired", message)


def _name_edges(instant: datetime, tier: Tier) -> str:
    lower = floor_to(instant, tier.width)
    return f"{lower:%Y-%m-%dT%H:%MZ} and {lower + tier.width:%Y-%m-%dT%H:%MZ}"
