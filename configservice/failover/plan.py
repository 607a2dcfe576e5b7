"""Plans the next step of a change of primary, from its record and the present state of the instances. Pure.

The order of steps prevents data loss (another order lost an acknowledged row when tried): detach the standbys, so that
a primary that is not quite dead gets no more commits confirmed; only then compare their positions; apply the settings
that the candidate needs before its first write; promote; repoint the other standbys; raise the shard term; publish.

The record is the only memory, so the next leader continues a change at any step: it sees from the instances which steps
are done. `check_action` checks each step against the invariants that make this safe.
"""

from configservice.errors import InvariantBroken
from configservice.failover import actions
from configservice.failover.durability import plan_for_promotion
from configservice.failover.state import FailoverKind, FailoverState
from configservice.failover.view import FailoverAttempt, ShardMember, ShardView
from configservice.settings import ConfigServiceSettings
from configservice.topology.model import Role


def plan_next(attempt: FailoverAttempt, view: ShardView, *, settings: ConfigServiceSettings) -> actions.Action:
    """Raises ValueError for a finished attempt."""
    match attempt.state:
        case FailoverState.REQUESTED:
            return _plan_start(attempt, view, settings)
        case FailoverState.STARTED if _is_planned(attempt, view):
            return _plan_held_choice(attempt, view, settings)
        case FailoverState.STARTED:
            return _plan_choice(attempt, view, settings)
        case FailoverState.CHOSEN:
            return _plan_promotion(attempt, view, settings)
        case FailoverState.PROMOTING:
            return _await_promotion(attempt, view, settings)
        case FailoverState.PROMOTED:
            return _plan_publication(attempt, view, settings)
        case _:
            raise ValueError(f"there is no step in state {attempt.state}")


def can_begin(view: ShardView, *, old_primary: str) -> bool:
    """Whether an automatic failover has a candidate."""
    return any(_list_candidates(view, excluding=(old_primary,)))


def _is_planned(attempt: FailoverAttempt, view: ShardView) -> bool:
    """Whether this is a switchover; one whose old primary has died meanwhile continues as a failover."""
    return attempt.kind is FailoverKind.SWITCHOVER and view.get(attempt.old_primary).is_primary_now


def _plan_start(attempt: FailoverAttempt, view: ShardView, settings: ConfigServiceSettings) -> actions.Action:
    is_planned = attempt.kind is FailoverKind.SWITCHOVER
    old = view.get(attempt.old_primary)
    if is_planned and not old.is_primary_now:
        return actions.Refuse(f"{old.name} does not answer as primary: request a failover, not a switchover")
    refusals = {
        m.name: why
        for m in view.members.values()
        if (why := _find_objection(m, old, settings, is_planned=is_planned, accepted=attempt.accepted))
    }
    if attempt.target:
        if attempt.target not in view.members:
            return actions.Refuse(f"{attempt.target} is not an instance of {view.name}")
        if attempt.target in refusals:
            return actions.Refuse(f"{attempt.target} {refusals[attempt.target]}")
        return actions.Start(attempt.target)
    able = [m for m in view.members.values() if m.name not in refusals]
    if not able:
        reasons = ", ".join(f"{name} {why}" for name, why in refusals.items() if name != old.name)
        return actions.Refuse(f"no replica can be promoted: {reasons or f'{view.name} has no replica'}")
    # A switchover fixes its target now, since writes are held only while it catches up.
    return actions.Start(max(able, key=lambda m: m.progress).name if is_planned else "")


def _find_objection(  # noqa: PLR0911 - a line a reason
    member: ShardMember, old: ShardMember, settings: ConfigServiceSettings, *, is_planned: bool, accepted: str
) -> str | None:
    """Why a member cannot be promoted; None if it can."""
    if member.name == old.name:
        return "is the primary"
    if not member.promotable and member.name != accepted:
        return "is not promotable"
    if member.role is Role.FENCED:
        return "is fenced and has not rejoined"
    if member.state is None:
        return "does not answer"
    if not member.state.in_recovery:
        return "is not a standby"
    if not is_planned or old.state is None:
        return None if member.name == accepted else describe_lacks(member)
    if not member.state.is_receiving:
        return "does not stream"
    behind_bytes = old.state.lsn - member.state.replay_lsn
    return f"is {behind_bytes} bytes behind" if behind_bytes > settings.switchover_max_lag_bytes else None


def describe_lacks(member: ShardMember) -> str | None:
    """Which missing entries forbid a promotion; None if the log still holds them all, or replay may yet apply them."""
    if not member.lacks or member.is_replaying:
        return None
    partitions = ", ".join(map(str, member.lacks))
    return f"lacks entries of partitions {partitions} that the event log no longer holds: they would be lost"


def _plan_held_choice(attempt: FailoverAttempt, view: ShardView, settings: ConfigServiceSettings) -> actions.Action:
    """A switchover: hold writes, wait until the target has caught up, detach all standbys, record the choice."""
    old, target = view.get(attempt.old_primary), view.get(attempt.target)
    if attempt.started_seconds > settings.hold_seconds:
        return _plan_undo(attempt, view, why=f"{target.name} was not ready within {settings.hold_seconds:g} s")
    if old.is_writable_now:
        return actions.Hold(old.name)
    if target.state is None:
        return actions.Wait(f"{target.name} does not answer")
    if target.is_attached and old.state is not None and target.state.replay_lsn < old.state.lsn:
        return actions.Wait(f"{target.name} is catching up")
    attached = _list_attached(view)
    return actions.Detach(attached) if attached else actions.Choose(target.name, _get_next_term(attempt, view))


def _plan_choice(  # noqa: PLR0911 - a paragraph a step
    attempt: FailoverAttempt, view: ShardView, settings: ConfigServiceSettings
) -> actions.Action:
    """A failover: detach the standbys, compare them, choose one."""
    old = view.get(attempt.old_primary)
    promoted = [m for m in view.members.values() if m.name != old.name and m.role is Role.REPLICA and m.is_primary_now]
    if promoted:  # by a former leader or by hand: a promotion cannot be undone
        return actions.Choose(max(promoted, key=_get_history).name, _get_next_term(attempt, view))
    if attempt.kind is FailoverKind.FOLLOWED:
        return actions.RecordUndone("no other instance is primary now")
    if old.is_writable_now:
        if attempt.kind is FailoverKind.FORCED:
            return actions.Hold(old.name)
        return _plan_undo(attempt, view, why=f"{old.name} answers again")
    attached = _list_attached(view)
    if attached:
        return actions.Detach(attached)
    is_target_fixed = attempt.kind is FailoverKind.FORCED and attempt.target != ""
    eligible = [m for m in view.standbys if not is_target_fixed or m.name == attempt.target]
    replaying = [m.name for m in eligible if m.promotable and m.lacks and m.is_replaying and m.name != attempt.accepted]
    # Replay may apply all missing entries, and this standby holds more than the others. But the wait is bounded: the
    # log still holds the entries that another candidate has not applied, so a stalled replay must not block for good.
    if replaying and attempt.started_seconds <= settings.promotion_seconds:
        return actions.Wait(f"{', '.join(replaying)} is replaying received WAL")
    able = _list_candidates(view, excluding=(old.name,), accepted=attempt.accepted)
    candidates = [m for m in able if m in eligible]
    if candidates:
        return actions.Choose(
            max(candidates, key=lambda m: (m.progress, m.name == attempt.target)).name, _get_next_term(attempt, view)
        )
    lacking = [f"{m.name} {why}" for m in view.standbys if m.promotable and (why := describe_lacks(m))]
    why = "; ".join(lacking) or "no promotable replica answers"
    if attempt.started_seconds > settings.silence_patience_seconds:
        return _plan_undo(attempt, view, why=why)
    return actions.Wait(why)


def _plan_promotion(  # noqa: PLR0911 - a paragraph a step
    attempt: FailoverAttempt, view: ShardView, settings: ConfigServiceSettings
) -> actions.Action:
    """Until the promotion is recorded, every step can be undone."""
    old, candidate = view.get(attempt.old_primary), view.get(attempt.candidate)
    if candidate.is_primary_now:
        return actions.RecordPromoted()
    if attempt.kind is FailoverKind.FOLLOWED:
        return actions.RecordUndone(f"{candidate.name} is no longer primary")
    if attempt.kind is FailoverKind.AUTOMATIC and old.is_writable_now:
        return _plan_undo(attempt, view, why=f"{old.name} answers again")
    if _is_planned(attempt, view) and attempt.started_seconds > settings.hold_seconds:
        return _plan_undo(attempt, view, why=f"{candidate.name} was not ready within {settings.hold_seconds:g} s")
    if candidate.state is None:
        return _choose_another(attempt, view, settings)
    if candidate.is_attached:
        return actions.Detach((candidate.name,))
    living = [m.name for m in view.standbys if m.name != candidate.name]
    wanted = plan_for_promotion(view.shard, candidate=candidate.name, living=living).setting
    if candidate.state.is_read_only or candidate.state.synchronous_standby_names != wanted:
        return actions.Prepare(candidate.name, wanted)
    return actions.BeginPromotion()


def _await_promotion(attempt: FailoverAttempt, view: ShardView, settings: ConfigServiceSettings) -> actions.Action:
    candidate = view.get(attempt.candidate)
    if candidate.is_primary_now:
        return actions.RecordPromoted()
    if candidate.state is None or attempt.chosen_seconds > settings.promotion_seconds:
        return _choose_another(attempt, view, settings)
    if attempt.is_promotion_sent:
        return actions.Wait(f"{candidate.name} is leaving recovery")
    return actions.Promote(candidate.name)


def _choose_another(attempt: FailoverAttempt, view: ShardView, settings: ConfigServiceSettings) -> actions.Action:
    """The candidate is silent or does not leave recovery. If it is promoted later, it has a lower shard term."""
    candidate = view.get(attempt.candidate)
    if candidate.state is None and candidate.silent_seconds < settings.silence_patience_seconds:
        return actions.Wait(f"{candidate.name} does not answer")
    attached = tuple(name for name in _list_attached(view) if name != candidate.name)
    if attached:
        return actions.Detach(attached)
    others = _list_candidates(view, excluding=(attempt.old_primary, candidate.name))
    if others:
        return actions.Choose(max(others, key=lambda m: m.progress).name, _get_next_term(attempt, view))
    return actions.Wait(f"{candidate.name} does not become primary, and there is no other candidate")


def _plan_publication(attempt: FailoverAttempt, view: ShardView, settings: ConfigServiceSettings) -> actions.Action:
    candidate = view.get(attempt.candidate)
    term = view.term if attempt.term is None else attempt.term
    if candidate.state is None:
        if candidate.silent_seconds < settings.silence_patience_seconds:
            return actions.Wait(f"{candidate.name} does not answer")
        # It has been promoted: publish that, and let the next failover detect that it is dead.
        return actions.Publish(candidate.name, term)
    if attempt.kind is not FailoverKind.FOLLOWED:
        astray = tuple(m.name for m in view.standbys if candidate.name not in (m.name, m.follows))
        if astray:
            return actions.Repoint(astray, to=candidate.name)
        if candidate.state.is_read_only:  # promoted by hand, with a fence left over
            return actions.Prepare(candidate.name, candidate.state.synchronous_standby_names)
    if candidate.term is None or candidate.term < term:
        return actions.Stamp(candidate.name, term)
    return actions.Publish(candidate.name, term)


def _plan_undo(attempt: FailoverAttempt, view: ShardView, *, why: str) -> actions.Action:
    old = view.get(attempt.old_primary)
    if not old.is_primary_now:  # standbys stay detached until there is a primary; `roles` reattaches them
        return actions.RecordUndone(why)
    if attempt.kind is not FailoverKind.AUTOMATIC and not old.is_writable_now:
        return actions.Release(old.name)
    detached = tuple(m.name for m in view.standbys if m.state is not None and m.state.is_detached)
    return actions.Repoint(detached, to=old.name) if detached else actions.RecordUndone(why)


def _get_next_term(attempt: FailoverAttempt, view: ShardView) -> int:
    """Above every known term, also this attempt's own: a candidate that was given up may be promoted later."""
    return 1 + max([view.term, attempt.term or 0, *(m.term or 0 for m in view.members.values())])


def _list_attached(view: ShardView) -> tuple[str, ...]:
    return tuple(m.name for m in view.standbys if m.is_attached)


def _list_candidates(view: ShardView, *, excluding: tuple[str, ...], accepted: str = "") -> list[ShardMember]:
    """Promotable standbys without missing entries, and the one whose loss is accepted."""
    fit = [m for m in view.standbys if m.name == accepted or (m.promotable and not m.lacks)]
    return [m for m in fit if m.name not in excluding]


def _get_history(member: ShardMember) -> tuple[int, int, int]:
    return (0 if member.state is None else member.state.timeline, *member.progress)


def check_action(attempt: FailoverAttempt, view: ShardView, action: actions.Action) -> None:
    """Raises InvariantBroken for a step that could lose writes or make two primaries of one term."""
    match action:
        case actions.Choose(name, term):
            chosen = view.get(name)
            known = [view.term, attempt.term or 0, *(m.term or 0 for m in view.members.values())]
            _require(term > max(known), f"shard term {term} is not above every known one")
            _require(attempt.state is not FailoverState.PROMOTED, "a candidate has been promoted already")
            if not chosen.is_primary_now:
                is_accepted = name == attempt.accepted
                _require(chosen.is_standby_now and (chosen.promotable or is_accepted), f"{name} is not promotable")
                _require(
                    not chosen.lacks or is_accepted or _is_planned(attempt, view), f"{name} {describe_lacks(chosen)}"
                )
                still = [n for n in _list_attached(view) if n != attempt.candidate]
                _require(not still, f"{', '.join(still)} may still confirm writes of the old primary")
                is_target_fixed = attempt.kind is FailoverKind.FORCED and attempt.target
                if not is_target_fixed and not _is_planned(attempt, view):
                    best = max(m.progress for m in _list_candidates(view, excluding=(attempt.candidate,)))
                    _require(chosen.progress == best, f"{name} is not the most advanced")
        case actions.Promote(name):
            promoted = view.get(name)
            _require(attempt.state is FailoverState.PROMOTING, "the promotion is not recorded")
            _require(name == attempt.candidate, f"{name} is not the candidate")
            may_be = promoted.promotable or name == attempt.accepted
            _require(promoted.is_standby_now and may_be, f"{name} is not a promotable standby")
        case actions.Repoint(names, to):
            _require(to not in names, f"{to} cannot follow itself")
            _require(view.get(to).is_primary_now, f"{to} is not a primary")
            _require(all(view.get(n).is_standby_now for n in names), "only standbys can follow")
        case actions.Detach(names):
            _require(all(view.get(n).is_standby_now for n in names), "only standbys can be detached")
        case actions.Stamp(name, _) | actions.Publish(name, _):
            _require(attempt.state is FailoverState.PROMOTED, "the candidate has not left recovery")
            _require(name == attempt.candidate, f"{name} is not the candidate")
            _require(view.get(name).state is None or view.get(name).is_primary_now, f"{name} is in recovery")
        case actions.Hold(name) | actions.Release(name):
            _require(name == attempt.old_primary, f"{name} is not the old primary")
        case actions.RecordUndone():
            undoable = (FailoverState.STARTED, FailoverState.CHOSEN)
            _require(attempt.state in undoable, "a promotion cannot be undone")


def _require(holds: bool, violation: str) -> None:
    if not holds:
        raise InvariantBroken(violation)
