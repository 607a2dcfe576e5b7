"""The next step of a change of primary, from its record and from what the instances are now. Pure.

The order is the point; another one lost an acknowledged row when tried: detach the standbys, so that a primary that is
not quite dead gets nothing confirmed any more; only then compare what they hold; set what the candidate needs before it
takes a write; promote; point the others to it; raise the term; publish.

Nothing is remembered but the record, so a leader that dies anywhere is continued by the next one, which sees what has
been done by looking at the instances. `check_action` holds each step against the rules that make this safe.
"""

from configservice.errors import InvariantBroken
from configservice.failover import actions
from configservice.failover.durability import plan_for_promotion
from configservice.failover.state import FailoverKind, FailoverState
from configservice.failover.view import FailoverAttempt, ShardMember, ShardView
from configservice.settings import ConfigServiceSettings
from configservice.topology.model import Role


def plan_next(attempt: FailoverAttempt, view: ShardView, *, settings: ConfigServiceSettings) -> actions.Action:
    """Raises ValueError for an attempt that is over."""
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
            raise ValueError(f"nothing is to be done in state {attempt.state}")


def can_begin(view: ShardView, *, old_primary: str) -> bool:
    """Whether an automatic failover has anybody to promote."""
    return any(_list_candidates(view, excluding=(old_primary,)))


def _is_planned(attempt: FailoverAttempt, view: ShardView) -> bool:
    """A switchover whose old primary has died meanwhile goes on as a failover."""
    return attempt.kind is FailoverKind.SWITCHOVER and view.get(attempt.old_primary).is_primary_now


def _plan_start(attempt: FailoverAttempt, view: ShardView, settings: ConfigServiceSettings) -> actions.Action:
    is_planned = attempt.kind is FailoverKind.SWITCHOVER
    old = view.get(attempt.old_primary)
    if is_planned and not old.is_primary_now:
        return actions.Refuse(f"{old.name} does not answer as primary: a switchover needs it, a failover does not")
    refusals = {
        m.name: why
        for m in view.members.values()
        if (why := _find_objection(m, old, settings, is_planned=is_planned, accepted=attempt.accepted))
    }
    if attempt.target:
        if attempt.target not in view.members:
            return actions.Refuse(f"{attempt.target} is no instance of {view.name}")
        if attempt.target in refusals:
            return actions.Refuse(f"{attempt.target} {refusals[attempt.target]}")
        return actions.Start(attempt.target)
    able = [m for m in view.members.values() if m.name not in refusals]
    if not able:
        reasons = ", ".join(f"{name} {why}" for name, why in refusals.items() if name != old.name)
        return actions.Refuse(f"nobody could take over: {reasons or f'{view.name} has no replica'}")
    # A switchover fixes its target now, since writes are held only while it catches up.
    return actions.Start(max(able, key=lambda m: m.progress).name if is_planned else "")


def _find_objection(  # noqa: PLR0911 - a line a reason
    member: ShardMember, old: ShardMember, settings: ConfigServiceSettings, *, is_planned: bool, accepted: str
) -> str | None:
    """Why a member cannot be promoted, None if it can."""
    if member.name == old.name:
        return "is the primary"
    if not member.promotable and member.name != accepted:
        return "is not promotable"
    if member.role is Role.FENCED:
        return "is fenced and has not rejoined"
    if member.state is None:
        return "does not answer"
    if not member.state.in_recovery:
        return "is no standby"
    if not is_planned or old.state is None:
        return None if member.name == accepted else describe_lacks(member)
    if not member.state.is_receiving:
        return "does not stream"
    behind_bytes = old.state.lsn - member.state.replay_lsn
    return f"is {behind_bytes} bytes behind" if behind_bytes > settings.switchover_max_lag_bytes else None


def describe_lacks(member: ShardMember) -> str | None:
    """None where the event log holds all that it has not applied, or it is about to apply it. Pure."""
    if not member.lacks or member.is_replaying:
        return None
    partitions = ", ".join(map(str, member.lacks))
    return f"has not applied entries of partitions {partitions} that the event log no longer holds: they would be lost"


def _plan_held_choice(attempt: FailoverAttempt, view: ShardView, settings: ConfigServiceSettings) -> actions.Action:
    """A switchover: writes held, the target caught up, then everybody detached and the choice written down."""
    old, target = view.get(attempt.old_primary), view.get(attempt.target)
    if attempt.started_seconds > settings.hold_seconds:
        return _plan_undo(attempt, view, why=f"{target.name} was not ready within {settings.hold_seconds:g} s")
    if old.is_writable_now:
        return actions.Hold(old.name)
    if target.state is None:
        return actions.Wait(f"{target.name} does not answer")
    if target.is_attached and old.state is not None and target.state.replay_lsn < old.state.lsn:
        return actions.Wait(f"{target.name} catches up")
    attached = _list_attached(view)
    return actions.Detach(attached) if attached else actions.Choose(target.name, _get_next_term(attempt, view))


def _plan_choice(  # noqa: PLR0911 - a paragraph a step
    attempt: FailoverAttempt, view: ShardView, settings: ConfigServiceSettings
) -> actions.Action:
    """A failover: detach, compare, choose."""
    old = view.get(attempt.old_primary)
    promoted = [m for m in view.members.values() if m.name != old.name and m.role is Role.REPLICA and m.is_primary_now]
    if promoted:  # by a leader that was cut off, or by hand: nobody can undo it
        return actions.Choose(max(promoted, key=_get_history).name, _get_next_term(attempt, view))
    if attempt.kind is FailoverKind.FOLLOWED:
        return actions.NoteUndone("nobody else is primary any more")
    if old.is_writable_now:
        if attempt.kind is FailoverKind.FORCED:
            return actions.Hold(old.name)
        return _plan_undo(attempt, view, why=f"{old.name} answers again")
    attached = _list_attached(view)
    if attached:
        return actions.Detach(attached)
    is_asked_for = attempt.kind is FailoverKind.FORCED and attempt.target != ""
    asked = [m for m in view.standbys if not is_asked_for or m.name == attempt.target]
    replaying = [m.name for m in asked if m.promotable and m.lacks and m.is_replaying and m.name != attempt.accepted]
    # That may be all it lacks, and it holds more than the others; but a replay that stands still holds up nobody for
    # good: what another one has not applied, the log still holds.
    if replaying and attempt.started_seconds <= settings.promotion_seconds:
        return actions.Wait(f"{', '.join(replaying)} has yet to apply what it has received")
    able = _list_candidates(view, excluding=(old.name,), accepted=attempt.accepted)
    candidates = [m for m in able if m in asked]
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
    """Until the promotion is written down, everything can be undone."""
    old, candidate = view.get(attempt.old_primary), view.get(attempt.candidate)
    if candidate.is_primary_now:
        return actions.NotePromoted()
    if attempt.kind is FailoverKind.FOLLOWED:
        return actions.NoteUndone(f"{candidate.name} is no primary any more")
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
        return actions.NotePromoted()
    if candidate.state is None or attempt.chosen_seconds > settings.promotion_seconds:
        return _choose_another(attempt, view, settings)
    if attempt.is_promotion_sent:
        return actions.Wait(f"{candidate.name} leaves recovery")
    return actions.Promote(candidate.name)


def _choose_another(attempt: FailoverAttempt, view: ShardView, settings: ConfigServiceSettings) -> actions.Action:
    """The candidate is silent, or does not leave recovery. Whatever it may do yet, it does under a lower term."""
    candidate = view.get(attempt.candidate)
    if candidate.state is None and candidate.silent_seconds < settings.silence_patience_seconds:
        return actions.Wait(f"{candidate.name} does not answer")
    attached = tuple(name for name in _list_attached(view) if name != candidate.name)
    if attached:
        return actions.Detach(attached)
    others = _list_candidates(view, excluding=(attempt.old_primary, candidate.name))
    if others:
        return actions.Choose(max(others, key=lambda m: m.progress).name, _get_next_term(attempt, view))
    return actions.Wait(f"{candidate.name} does not become primary, and there is nobody else")


def _plan_publication(attempt: FailoverAttempt, view: ShardView, settings: ConfigServiceSettings) -> actions.Action:
    candidate = view.get(attempt.candidate)
    term = view.term if attempt.term is None else attempt.term
    if candidate.state is None:
        if candidate.silent_seconds < settings.silence_patience_seconds:
            return actions.Wait(f"{candidate.name} does not answer")
        # It has been primary: say so, and let the next failover find it dead.
        return actions.Publish(candidate.name, term)
    if attempt.kind is not FailoverKind.FOLLOWED:
        astray = tuple(m.name for m in view.standbys if candidate.name not in (m.name, m.follows))
        if astray:
            return actions.Repoint(astray, to=candidate.name)
        if candidate.state.is_read_only:  # promoted by hand, having been fenced once
            return actions.Prepare(candidate.name, candidate.state.synchronous_standby_names)
    if candidate.term is None or candidate.term < term:
        return actions.Stamp(candidate.name, term)
    return actions.Publish(candidate.name, term)


def _plan_undo(attempt: FailoverAttempt, view: ShardView, *, why: str) -> actions.Action:
    old = view.get(attempt.old_primary)
    if not old.is_primary_now:  # standbys stay detached until there is a primary; see `configservice.failover.roles`
        return actions.NoteUndone(why)
    if attempt.kind is not FailoverKind.AUTOMATIC and not old.is_writable_now:
        return actions.Release(old.name)
    detached = tuple(m.name for m in view.standbys if m.state is not None and m.state.is_detached)
    return actions.Repoint(detached, to=old.name) if detached else actions.NoteUndone(why)


def _get_next_term(attempt: FailoverAttempt, view: ShardView) -> int:
    """Above everything known, this attempt's own included: a candidate that was given up may yet be promoted."""
    return 1 + max([view.term, attempt.term or 0, *(m.term or 0 for m in view.members.values())])


def _list_attached(view: ShardView) -> tuple[str, ...]:
    return tuple(m.name for m in view.standbys if m.is_attached)


def _list_candidates(view: ShardView, *, excluding: tuple[str, ...], accepted: str = "") -> list[ShardMember]:
    """Those that lose nothing, and the one whose loss is accepted."""
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
            _demand(term > max(known), f"term {term} is not above every known one")
            _demand(attempt.state is not FailoverState.PROMOTED, "somebody has been promoted already")
            if not chosen.is_primary_now:
                is_accepted = name == attempt.accepted
                _demand(chosen.is_standby_now and (chosen.promotable or is_accepted), f"{name} is not promotable")
                _demand(
                    not chosen.lacks or is_accepted or _is_planned(attempt, view), f"{name} {describe_lacks(chosen)}"
                )
                still = [n for n in _list_attached(view) if n != attempt.candidate]
                _demand(not still, f"{', '.join(still)} may still confirm writes of the old primary")
                is_wished = attempt.kind is FailoverKind.FORCED and attempt.target
                if not is_wished and not _is_planned(attempt, view):
                    best = max(m.progress for m in _list_candidates(view, excluding=(attempt.candidate,)))
                    _demand(chosen.progress == best, f"{name} is not the most advanced")
        case actions.Promote(name):
            promoted = view.get(name)
            _demand(attempt.state is FailoverState.PROMOTING, "promotion is not written down")
            _demand(name == attempt.candidate, f"{name} is not the candidate")
            may_be = promoted.promotable or name == attempt.accepted
            _demand(promoted.is_standby_now and may_be, f"{name} is no promotable standby")
        case actions.Repoint(names, to):
            _demand(to not in names, f"{to} cannot follow itself")
            _demand(view.get(to).is_primary_now, f"{to} is no primary")
            _demand(all(view.get(n).is_standby_now for n in names), "only standbys can follow")
        case actions.Detach(names):
            _demand(all(view.get(n).is_standby_now for n in names), "only standbys can be detached")
        case actions.Stamp(name, _) | actions.Publish(name, _):
            _demand(attempt.state is FailoverState.PROMOTED, "the candidate has not left recovery")
            _demand(name == attempt.candidate, f"{name} is not the candidate")
            _demand(view.get(name).state is None or view.get(name).is_primary_now, f"{name} is in recovery")
        case actions.Hold(name) | actions.Release(name):
            _demand(name == attempt.old_primary, f"{name} is not the old primary")
        case actions.NoteUndone():
            undoable = (FailoverState.STARTED, FailoverState.CHOSEN)
            _demand(attempt.state in undoable, "a promotion cannot be undone")


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise InvariantBroken(otherwise)
