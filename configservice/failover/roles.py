"""Keeps what the topology says of instances true to what they are, between failovers. The plan is pure.

A second primary is fenced; an old primary that has rejoined is a replica again; a standby that lost its primary is
pointed to it; a change of primary that somebody else made is followed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from configservice.failover.absence import is_away, is_waited_for
from configservice.failover.kept_log import LogShare
from configservice.monitoring.failure_detection import describe_unreachable
from configservice.monitoring.probe_result import InstanceState, ProbeResult
from configservice.settings import ConfigServiceSettings, FailoverMode
from configservice.topology.model import Instance, Role, Shard

MIB = 1024 * 1024
SLOW_SHARES = 1.5
"""A replica that answers is struck off later: while drains are behind the log is full for another reason, and a shard
that is busy needs somebody who could take over."""


class Correction(StrEnum):
    FOLLOW = "follow"
    """`name` is primary though the topology says another: take it over with a term of its own."""
    STRAY = "stray"
    """`name` is a second primary: it is no copy of the shard any more."""
    FENCE = "fence"
    """`name` has been primary and takes writes: end that."""
    REJOIN = "rejoin"
    """`name` streams from the primary again: it is a replica."""
    RELEASE = "release"
    """`name` is the primary and takes no writes: a switchover that was cut off, or a fence of before."""
    REATTACH = "reattach"
    """`name` follows nobody: point it to the primary."""
    NOTE_AWAY = "note away"
    """`name` is away, and the event log is kept for it: write down since when."""
    NOTE_BACK = "note back"
    STRIKE_OFF = "strike off"
    """`name` has been away for too long, or the event log keeps too much for it: it is not promotable, so that the log
    need not be kept for it."""
    READMIT = "readmit"
    """`name` has caught up after it was struck off: it is promotable again."""


@dataclass(frozen=True, slots=True)
class RolePlan:
    correction: Correction
    name: str
    why: str


def plan_roles(
    shard: Shard,
    sightings: Mapping[str, ProbeResult],
    *,
    mode: FailoverMode,
    struck_off: Collection[str],
    away_seconds: Mapping[str, float],
    log_share: LogShare | None = None,
    now: float,
    settings: ConfigServiceSettings,
) -> list[RolePlan]:
    """What to put right, for a shard with no failover under way. In external mode no server is touched.

    `away_seconds`: by name, since when it is written down that they are away. `log_share`: what the shard's entries
    take of the event log; None: not known.
    """
    seen = {i.name: state for i in shard.instances if (state := find_state(sightings, i)) is not None}
    found = _find_other_primary(shard, seen, sightings, mode=mode, now=now, settings=settings)
    if found is not None:
        return [found]
    plans = [
        plan
        for instance in shard.instances
        if instance.role is not Role.PRIMARY and instance.name in seen
        for plan in _plan_instance(instance, shard, seen, is_struck_off=instance.name in struck_off, settings=settings)
    ]
    for instance in shard.instances:
        away = is_away(seen.get(instance.name), sightings.get(instance.name), now=now)
        plans += _plan_presence(
            instance, shard, seen, away=away, noted=away_seconds, log_share=log_share, settings=settings
        )
    primary = shard.primary
    if primary is not None and primary.name in seen and _is_held(seen[primary.name]):
        plans.append(RolePlan(Correction.RELEASE, primary.name, "it is the primary and takes no writes"))
    touching = (Correction.FENCE, Correction.REATTACH, Correction.RELEASE)
    return [p for p in plans if mode is not FailoverMode.EXTERNAL or p.correction not in touching]


def find_state(sightings: Mapping[str, ProbeResult], instance: Instance) -> InstanceState | None:
    """What it is now; None while it does not answer."""
    sighting = sightings.get(instance.name)
    return sighting.state if sighting is not None and sighting.answers else None


def _is_held(state: InstanceState) -> bool:
    return not state.in_recovery and state.is_read_only


def _plan_presence(
    instance: Instance,
    shard: Shard,
    seen: Mapping[str, InstanceState],
    *,
    away: bool | None,
    noted: Mapping[str, float],
    log_share: LogShare | None,
    settings: ConfigServiceSettings,
) -> list[RolePlan]:
    """Nothing while the primary is away as well: the log is not trimmed then, whoever is struck off, and everybody who
    followed it would be noted just when a failover is due."""
    name, away_seconds = instance.name, noted.get(instance.name)
    primary = None if shard.primary is None else seen.get(shard.primary.name)
    if away is None or primary is None or primary.in_recovery or not is_waited_for(instance):
        return []
    if why := _find_strike_off(seen.get(name), primary, away_seconds if away else None, log_share, settings):
        return [RolePlan(Correction.STRIKE_OFF, name, why)]
    if away and away_seconds is None:
        return [RolePlan(Correction.NOTE_AWAY, name, "it does not answer, or receives nothing")]
    if not away and away_seconds is not None:
        return [RolePlan(Correction.NOTE_BACK, name, "it follows its primary again")]
    return []


def _find_strike_off(
    state: InstanceState | None,
    primary: InstanceState,
    away_seconds: float | None,
    log_share: LogShare | None,
    settings: ConfigServiceSettings,
) -> str | None:
    """Why the event log can be kept no longer for a replica that is away so long, or, None, that is not; None: it can.

    `state` None: it does not answer.
    """
    is_behind = state is not None and state.is_receiving and not _has_applied(state, primary, settings)
    if away_seconds is None and not is_behind:
        return None
    what = "it applies too slowly" if away_seconds is None else f"it has been away for {away_seconds / 3600:.1f} h"
    if log_share is not None and log_share.is_used_up(1.0 if away_seconds is not None else SLOW_SHARES):
        kept, share = log_share.kept_bytes / MIB, log_share.share_bytes / MIB
        return f"{what}, and the event log keeps {kept:.0f} MiB of the shard, of {share:.0f} MiB for absent replicas"
    if away_seconds is not None and 0 < settings.strike_off_seconds <= away_seconds:
        return f"{what}; the event log is no longer kept for it"
    return None


def _has_applied(state: InstanceState, primary: InstanceState, settings: ConfigServiceSettings) -> bool:
    """Nearly all that its primary has written."""
    return primary.lsn - state.replay_lsn <= settings.rejoin_max_lag_bytes


def _find_other_primary(
    shard: Shard,
    seen: Mapping[str, InstanceState],
    sightings: Mapping[str, ProbeResult],
    *,
    mode: FailoverMode,
    now: float,
    settings: ConfigServiceSettings,
) -> RolePlan | None:
    """Somebody promoted another instance, and the one the topology names is not primary any more.

    Under an external manager, also while it still is: whoever has the later timeline was promoted later.
    """
    primary = shard.primary
    others = {i.name: seen[i.name] for i in shard.replicas if i.name in seen and not seen[i.name].in_recovery}
    if not others or primary is None:
        return None
    name, state = max(others.items(), key=lambda item: (item[1].timeline, item[1].lsn))
    current = seen.get(primary.name)
    if current is None:
        sighting = sightings.get(primary.name)
        unreachable = None if sighting is None else describe_unreachable(sighting, now=now, settings=settings)
        if unreachable is None:
            return None
        return RolePlan(Correction.FOLLOW, name, f"{name} was promoted, and {primary.name} {unreachable}")
    if current.in_recovery:
        return RolePlan(Correction.FOLLOW, name, f"{name} was promoted, and {primary.name} is a standby")
    if mode is FailoverMode.EXTERNAL and state.timeline > current.timeline:
        return RolePlan(Correction.FOLLOW, name, f"{name} was promoted later than {primary.name}")
    return None


def _plan_instance(
    instance: Instance,
    shard: Shard,
    seen: Mapping[str, InstanceState],
    *,
    is_struck_off: bool,
    settings: ConfigServiceSettings,
) -> list[RolePlan]:
    state = seen[instance.name]
    primary = None if shard.primary is None else seen.get(shard.primary.name)
    has_primary = primary is not None and not primary.in_recovery
    plans = []
    if not state.in_recovery:
        if instance.role is Role.REPLICA and has_primary:
            plans.append(RolePlan(Correction.STRAY, instance.name, "it is a second primary"))
        if not state.is_read_only and (instance.role is Role.FENCED or has_primary):
            plans.append(RolePlan(Correction.FENCE, instance.name, "it takes writes and is not the primary"))
        return plans
    if primary is None or primary.in_recovery:
        return []
    is_close = state.is_receiving and _has_applied(state, primary, settings)
    if instance.role is Role.FENCED and is_close:
        plans.append(RolePlan(Correction.REJOIN, instance.name, "it follows the primary again"))
    if instance.role is Role.REPLICA and not state.is_receiving:
        plans.append(RolePlan(Correction.REATTACH, instance.name, "it receives from nobody"))
    if is_struck_off and is_close:
        plans.append(RolePlan(Correction.READMIT, instance.name, "it has caught up"))
    return plans
