"""Plans corrections between failovers, where the topology and the state of the instances differ. Pure.

A second primary is fenced; an old primary that has rejoined becomes a replica; a standby that lost its primary is
repointed; a change of primary made outside of the config service is followed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from configservice.failover.absence import holds_event_log, is_absent
from configservice.failover.kept_log import LogShare
from configservice.monitoring.failure_detection import describe_unreachable
from configservice.monitoring.probe_result import InstanceState, ProbeResult
from configservice.settings import ConfigServiceSettings, FailoverMode
from configservice.topology.model import Instance, Role, Shard

MIB = 1024 * 1024
SLOW_SHARES = 1.5
"""A replica that answers but applies slowly is excluded only at this multiple of the share: while drains are behind the
log is full for another reason, and a busy shard needs a promotable replica."""


class Correction(StrEnum):
    FOLLOW = "follow"
    """`name` is primary but the topology names another instance: publish it with a new shard term."""
    MARK_FENCED = "mark fenced"
    """`name` is a second primary and no longer a copy of the shard: its role becomes fenced."""
    FENCE = "fence"
    """`name` is not the primary but takes writes: fence the server."""
    REJOIN = "rejoin"
    """`name` streams from the primary again: its role becomes replica."""
    RELEASE = "release"
    """`name` is the primary but takes no writes, after an interrupted switchover or an old fence: allow writes."""
    REATTACH = "reattach"
    """`name` follows no primary: repoint it."""
    RECORD_ABSENCE = "record absence"
    """`name` is absent, and the event log is kept for it: record the start of the absence."""
    RECORD_RETURN = "record return"
    RELEASE_LOG_HOLD = "release log hold"
    """`name` has been absent for too long, or the event log keeps too much for it: exclude it from promotion, so that
    the log is no longer kept for it."""
    REINSTATE = "reinstate"
    """`name` has caught up after it was excluded: it is promotable again."""


@dataclass(frozen=True, slots=True)
class RolePlan:
    correction: Correction
    name: str
    why: str


def plan_roles(
    shard: Shard,
    probes: Mapping[str, ProbeResult],
    *,
    mode: FailoverMode,
    excluded: Collection[str],
    absent_seconds: Mapping[str, float],
    log_share: LogShare | None = None,
    now: float,
    settings: ConfigServiceSettings,
) -> list[RolePlan]:
    """Corrections for a shard without a running failover. In external mode none of them changes a server.

    `absent_seconds`: by instance name, how long ago its absence was recorded. `log_share`: use of the event log by the
    shard; None if unknown.
    """
    seen = {i.name: state for i in shard.instances if (state := find_state(probes, i)) is not None}
    found = _find_other_primary(shard, seen, probes, mode=mode, now=now, settings=settings)
    if found is not None:
        return [found]
    plans = [
        plan
        for instance in shard.instances
        if instance.role is not Role.PRIMARY and instance.name in seen
        for plan in _plan_instance(instance, shard, seen, is_excluded=instance.name in excluded, settings=settings)
    ]
    for instance in shard.instances:
        absent = is_absent(seen.get(instance.name), probes.get(instance.name), now=now)
        plans += _plan_absence(
            instance, shard, seen, absent=absent, recorded=absent_seconds, log_share=log_share, settings=settings
        )
    primary = shard.primary
    if primary is not None and primary.name in seen and _is_held(seen[primary.name]):
        plans.append(RolePlan(Correction.RELEASE, primary.name, "it is the primary and takes no writes"))
    touching = (Correction.FENCE, Correction.REATTACH, Correction.RELEASE)
    return [p for p in plans if mode is not FailoverMode.EXTERNAL or p.correction not in touching]


def find_state(probes: Mapping[str, ProbeResult], instance: Instance) -> InstanceState | None:
    """The state at the last probe; None while the instance does not answer."""
    probe = probes.get(instance.name)
    return probe.state if probe is not None and probe.answers else None


def _is_held(state: InstanceState) -> bool:
    return not state.in_recovery and state.is_read_only


def _plan_absence(
    instance: Instance,
    shard: Shard,
    seen: Mapping[str, InstanceState],
    *,
    absent: bool | None,
    recorded: Mapping[str, float],
    log_share: LogShare | None,
    settings: ConfigServiceSettings,
) -> list[RolePlan]:
    """No correction while the primary does not answer either: the log is not trimmed then, whichever replicas are
    excluded, and all its standbys would be recorded as absent just when a failover is due."""
    name, absent_seconds = instance.name, recorded.get(instance.name)
    primary = None if shard.primary is None else seen.get(shard.primary.name)
    if absent is None or primary is None or primary.in_recovery or not holds_event_log(instance):
        return []
    if why := _find_exclusion(seen.get(name), primary, absent_seconds if absent else None, log_share, settings):
        return [RolePlan(Correction.RELEASE_LOG_HOLD, name, why)]
    if absent and absent_seconds is None:
        return [RolePlan(Correction.RECORD_ABSENCE, name, "it does not answer, or receives no WAL")]
    if not absent and absent_seconds is not None:
        return [RolePlan(Correction.RECORD_RETURN, name, "it follows its primary again")]
    return []


def _find_exclusion(
    state: InstanceState | None,
    primary: InstanceState,
    absent_seconds: float | None,
    log_share: LogShare | None,
    settings: ConfigServiceSettings,
) -> str | None:
    """Why the event log cannot be kept any longer for a replica; None if it can.

    `state` is None if the replica does not answer, `absent_seconds` if it is not recorded as absent.
    """
    is_behind = state is not None and state.is_receiving and not _has_applied(state, primary, settings)
    if absent_seconds is None and not is_behind:
        return None
    what = (
        "it applies too slowly" if absent_seconds is None else f"it has been absent for {absent_seconds / 3600:.1f} h"
    )
    if log_share is not None and log_share.is_used_up(1.0 if absent_seconds is not None else SLOW_SHARES):
        kept, share = log_share.kept_bytes / MIB, log_share.share_bytes / MIB
        return (
            f"{what}, and the event log keeps {kept:.0f} MiB of the shard; the share for absent replicas is {share:.0f}"
        )
    if absent_seconds is not None and 0 < settings.max_absence_seconds <= absent_seconds:
        return f"{what}; the event log is no longer kept for it"
    return None


def _has_applied(state: InstanceState, primary: InstanceState, settings: ConfigServiceSettings) -> bool:
    """Whether the lag behind the primary is at most `rejoin_max_lag_bytes`."""
    return primary.lsn - state.replay_lsn <= settings.rejoin_max_lag_bytes


def _find_other_primary(
    shard: Shard,
    seen: Mapping[str, InstanceState],
    probes: Mapping[str, ProbeResult],
    *,
    mode: FailoverMode,
    now: float,
    settings: ConfigServiceSettings,
) -> RolePlan | None:
    """Finds another instance that was promoted, while the topology's primary no longer is one.

    Under an external manager, also while it still is one: the instance with the later timeline was promoted later.
    """
    primary = shard.primary
    others = {i.name: seen[i.name] for i in shard.replicas if i.name in seen and not seen[i.name].in_recovery}
    if not others or primary is None:
        return None
    name, state = max(others.items(), key=lambda item: (item[1].timeline, item[1].lsn))
    current = seen.get(primary.name)
    if current is None:
        probe = probes.get(primary.name)
        unreachable = None if probe is None else describe_unreachable(probe, now=now, settings=settings)
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
    is_excluded: bool,
    settings: ConfigServiceSettings,
) -> list[RolePlan]:
    state = seen[instance.name]
    primary = None if shard.primary is None else seen.get(shard.primary.name)
    has_primary = primary is not None and not primary.in_recovery
    plans = []
    if not state.in_recovery:
        if instance.role is Role.REPLICA and has_primary:
            plans.append(RolePlan(Correction.MARK_FENCED, instance.name, "it is a second primary"))
        if not state.is_read_only and (instance.role is Role.FENCED or has_primary):
            plans.append(RolePlan(Correction.FENCE, instance.name, "it takes writes and is not the primary"))
        return plans
    if primary is None or primary.in_recovery:
        return []
    is_close = state.is_receiving and _has_applied(state, primary, settings)
    if instance.role is Role.FENCED and is_close:
        plans.append(RolePlan(Correction.REJOIN, instance.name, "it follows the primary again"))
    if instance.role is Role.REPLICA and not state.is_receiving:
        plans.append(RolePlan(Correction.REATTACH, instance.name, "it receives no WAL"))
    if is_excluded and is_close:
        plans.append(RolePlan(Correction.REINSTATE, instance.name, "it has caught up"))
    return plans
