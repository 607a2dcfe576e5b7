"""The order of a change of primary, and that no interruption of it loses an acknowledged row or makes two primaries."""

from dataclasses import replace

import pytest

from configservice.errors import InvariantBroken
from configservice.failover.actions import (
    BeginPromotion,
    Choose,
    Detach,
    Hold,
    Prepare,
    Promote,
    Publish,
    RecordPromoted,
    RecordUndone,
    Refuse,
    Repoint,
    Stamp,
    Start,
    Wait,
)
from configservice.failover.plan import check_action
from configservice.failover.state import FailoverEvent, FailoverKind, FailoverState, transition
from configservice.topology.model import Role, StandbyLoss
from tests.unit.configservice.shard_world import SETTINGS, World, build_dead

DEGRADE, BLOCK = StandbyLoss.DEGRADE, StandbyLoss.BLOCK
AUTOMATIC, FORCED, SWITCHOVER = FailoverKind.AUTOMATIC, FailoverKind.FORCED, FailoverKind.SWITCHOVER


def assert_whole(world: World) -> None:
    """One primary of the newest term with every acknowledged row, all living standbys behind it."""
    assert world.attempt.state is FailoverState.DONE
    name, term = world.published[-1]
    primary = world.servers[name]
    assert len(world.published) == 1
    assert [n for n, role in world.roles.items() if role is Role.PRIMARY] == [name]
    assert (primary.in_recovery, primary.is_read_only, primary.term, world.term) == (False, False, term, term)
    assert set(world.acknowledged) <= set(primary.rows)
    for server in world.servers.values():
        if server.is_up and server.in_recovery:
            assert (server.follows, server.is_detached) == (name, False)


class TestOrder:
    def test_a_failover_takes_its_steps_in_the_order_that_loses_nothing(self):
        world = build_dead(synchronous=1)
        world.run()
        assert world.actions == [
            Detach(("b", "c")),
            Choose("c", 2),
            Prepare("c", 'ANY 1 ("a", "b")'),
            BeginPromotion(),
            Promote("c"),
            RecordPromoted(),
            Repoint(("b",), to="c"),
            Stamp("c", 2),
            Publish("c", 2),
        ]
        assert_whole(world)

    def test_an_instance_that_is_not_promotable_is_never_promoted_however_advanced(self):
        world = build_dead()
        world.servers["c"].promotable = False
        world.run()
        assert world.published == [("b", 2)]

    def test_rows_of_a_later_term_count_more_than_a_longer_log(self):
        world = build_dead()
        world.servers["b"].term = 2
        world.servers["c"].rows = list(range(100))
        world.run()
        assert world.published == [("b", 3)]

    def test_a_fenced_instance_is_no_candidate(self):
        world = build_dead()
        world.roles["c"] = Role.FENCED
        world.run()
        assert world.published == [("b", 2)]

    def test_without_anybody_to_promote_it_waits_and_then_gives_up_with_nothing_changed(self):
        world = build_dead()
        for name in "bc":
            world.die(name)
        assert world.plan() == Wait("no promotable replica answers")
        world.run()
        assert world.attempt.state is FailoverState.UNDONE
        assert world.published == []

    def test_an_instance_promoted_by_another_hand_is_taken_over(self):
        world = build_dead()
        world.servers["b"].in_recovery = False
        world.servers["b"].timeline = 2
        world.run()
        assert world.published == [("b", 2)]
        assert world.servers["c"].follows == "b"


class TestReturnOfTheOldPrimary:
    @pytest.mark.parametrize("steps", [0, 1, 2])
    def test_before_the_promotion_it_is_undone_and_the_standbys_follow_again(self, steps):
        world = build_dead()
        for _ in range(steps):
            world.step()
        world.servers["a"].is_up = True
        world.run()
        assert world.attempt.state is FailoverState.UNDONE
        assert [(s.follows, s.is_detached, s.in_recovery) for n, s in world.servers.items() if n != "a"] == [
            ("a", False, True)
        ] * 2
        assert world.commit(9)
        assert world.published == []

    def test_after_it_has_begun_there_is_no_way_back(self):
        world = build_dead(synchronous=1)
        while not isinstance(world.step(), BeginPromotion):
            pass
        world.servers["a"].is_up = True
        world.run()
        assert_whole(world)
        assert world.roles["a"] is Role.FENCED
        assert not world.commit(10, through="a"), "no standby confirms writes of the old primary"


class TestInterruptions:
    """A leader that dies at each step, before or after it is written down, and what else may happen right then."""

    @pytest.mark.parametrize("kind", [AUTOMATIC, FORCED, SWITCHOVER])
    @pytest.mark.parametrize("is_noted", [True, False])
    @pytest.mark.parametrize("at", range(12))
    def test_the_next_leader_finishes_what_a_dead_one_began(self, kind, is_noted, at):
        world = World.build(kind=kind, synchronous=1)
        for row in (1, 2, 3):
            world.commit(row)
        if kind is not SWITCHOVER:
            world.commit(4, reaching=("c",))
            world.die("a")
        for number in range(at + 1):
            if world.attempt.state is FailoverState.DONE:
                break
            world.step(is_noted=is_noted or number < at)
            world.stream()
        world.die_as_leader()
        world.run()
        assert_whole(world)

    @pytest.mark.parametrize("victim", ["b", "c"])
    @pytest.mark.parametrize("at", range(8))
    def test_a_standby_that_dies_at_any_step_is_gone_without(self, victim, at):
        world = build_dead()
        for _ in range(at):
            world.step()
        world.die(victim)
        world.run()
        assert world.attempt.state is FailoverState.DONE
        published, term = world.published[-1]
        if world.servers[published].is_up:
            assert world.servers[published].term == term
        else:  # it died after it had become primary: published, so that the next failover finds it
            assert (published, victim) == ("c", "c")

    @pytest.mark.parametrize("at", range(9))
    def test_a_former_leader_that_promotes_late_makes_no_second_primary_of_a_term(self, at):
        """It was frozen before `Promote`; meanwhile the candidate seemed silent and another one was chosen."""
        world = build_dead()
        while not isinstance(world.actions[-1] if world.actions else None, BeginPromotion):
            world.step()
        assert world.attempt.candidate == "c"
        world.die("c")
        world.age(SETTINGS.silence_patience_seconds)
        for _ in range(at):
            if world.attempt.state is not FailoverState.DONE:
                world.step()
        late = world.servers["c"]
        late.is_up, late.silent_seconds, late.in_recovery, late.timeline = True, 0.0, False, 7
        world.run()
        assert world.attempt.state is FailoverState.DONE
        published, term = world.published[-1]
        assert world.servers[published].term == term
        others = [s for n, s in world.servers.items() if n != published and not s.in_recovery and s.is_up]
        assert all(s.term < term for s in others), "every other primary has a lower shard term"


class TestSwitchover:
    def test_writes_are_held_the_target_catches_up_and_nothing_is_lost(self):
        world = World.build(kind=SWITCHOVER, synchronous=1)
        world.commit(1)
        world.servers["a"].rows.append(2)  # not streamed yet, its client still waits
        assert world.step() == Start("b")
        assert world.step() == Hold("a")
        assert not world.commit(3)
        assert world.step() == Wait("b is catching up")
        world.stream()
        world.run()
        assert_whole(world)
        assert world.servers["b"].rows == [1, 2]
        assert world.actions[3:] == [
            Detach(("b", "c")),
            Choose("b", 2),
            Prepare("b", 'ANY 1 ("a", "c")'),
            BeginPromotion(),
            Promote("b"),
            RecordPromoted(),
            Repoint(("c",), to="b"),
            Stamp("b", 2),
            Publish("b", 2),
        ]

    @pytest.mark.parametrize("steps", [2, 3, 4])
    def test_one_that_takes_too_long_is_undone_and_writes_go_on(self, steps):
        world = World.build(kind=SWITCHOVER)
        for _ in range(steps):
            world.step()
            world.stream()
        world.age(SETTINGS.hold_seconds + 1)
        world.run()
        assert world.attempt.state is FailoverState.UNDONE
        assert world.commit(7)
        assert world.servers["b"].rows == world.servers["c"].rows == [7]

    def test_it_becomes_a_failover_when_the_old_primary_dies_meanwhile(self):
        world = World.build(kind=SWITCHOVER)
        world.step()
        world.step()
        world.die("a")
        world.run()
        assert_whole(world)

    def test_a_failover_that_it_becomes_takes_the_most_advanced_whatever_was_asked_for(self):
        world = World.build(kind=SWITCHOVER, target="b", synchronous=1)
        assert world.step() == Start("b")
        assert world.commit(1, reaching=("c",))
        world.die("a")
        world.run()
        assert_whole(world)
        assert world.published == [("c", 2)]

    @pytest.mark.parametrize(
        ("target", "change", "why"),
        [
            ("a", {}, "a is the primary"),
            ("x", {}, "x is not an instance of shard1"),
            ("b", {"promotable": False}, "b is not promotable"),
            ("b", {"is_up": False}, "b does not answer"),
            ("b", {"is_detached": True}, "b does not stream"),
            ("b", {"in_recovery": False}, "b is not a standby"),
        ],
    )
    def test_a_target_that_cannot_take_over_is_refused_by_name_and_reason(self, target, change, why):
        world = World.build(kind=SWITCHOVER, target=target)
        for name, value in change.items():
            setattr(world.servers["b"], name, value)
        assert world.step() == Refuse(why)
        assert world.attempt.state is FailoverState.REFUSED

    def test_a_dead_primary_is_a_case_for_a_failover(self):
        world = World.build(kind=SWITCHOVER)
        world.die("a")
        assert world.plan() == Refuse("a does not answer as primary: request a failover, not a switchover")

    def test_nobody_to_take_over_is_refused_with_each_reason(self):
        world = World.build(kind=FORCED)
        world.die("b")
        world.roles["c"] = Role.FENCED
        why = "no replica can be promoted: b does not answer, c is fenced and has not rejoined"
        assert world.plan() == Refuse(why)


class TestForced:
    def test_a_living_primary_is_fenced_first(self):
        world = World.build(kind=FORCED)
        world.commit(1)
        world.run()
        assert world.actions[1] == Hold("a")
        assert_whole(world)

    def test_the_target_asked_for_is_promoted(self):
        world = build_dead(kind=FORCED, target="b")
        world.run()
        assert world.published == [("b", 2)]


class TestRules:
    def test_choosing_while_a_standby_still_receives_is_refused(self):
        world = World.build()
        with pytest.raises(InvariantBroken, match="may still confirm writes of the old primary"):
            check_action(world.attempt, world.look(), Choose("b", 2))

    def test_a_term_that_is_not_above_every_known_one_is_refused(self):
        world = build_dead()
        world.step()
        world.servers["b"].term = 5
        with pytest.raises(InvariantBroken, match="term 5 is not above every known one"):
            check_action(world.attempt, world.look(), Choose("b", 5))

    def test_promoting_what_is_not_written_down_is_refused(self):
        world = build_dead()
        world.step()
        world.step()
        with pytest.raises(InvariantBroken, match="the promotion is not recorded"):
            check_action(world.attempt, world.look(), Promote("c"))

    def test_publishing_a_standby_is_refused(self):
        world = build_dead()
        attempt = replace(world.attempt, state=FailoverState.PROMOTED, candidate="c", term=2)
        with pytest.raises(InvariantBroken, match="c is in recovery"):
            check_action(attempt, world.look(), Publish("c", 2))

    def test_undoing_a_promotion_is_refused(self):
        world = build_dead()
        attempt = replace(world.attempt, state=FailoverState.PROMOTING, candidate="c", term=2)
        with pytest.raises(InvariantBroken, match="a promotion cannot be undone"):
            check_action(attempt, world.look(), RecordUndone("tired"))


@pytest.mark.parametrize("state", list(FailoverState))
@pytest.mark.parametrize("event", list(FailoverEvent))
def test_every_state_takes_only_the_events_that_belong_to_it(state, event):
    S, E = FailoverState, FailoverEvent
    table = {
        S.REQUESTED: {E.START: S.STARTED, E.REFUSE: S.REFUSED},
        S.STARTED: {E.CHOOSE: S.CHOSEN, E.UNDO: S.UNDONE},
        S.CHOSEN: {
            E.CHOOSE: S.CHOSEN,
            E.PROMOTE: S.PROMOTING,
            E.LEAVE_RECOVERY: S.PROMOTED,
            E.UNDO: S.UNDONE,
        },
        S.PROMOTING: {E.CHOOSE: S.CHOSEN, E.LEAVE_RECOVERY: S.PROMOTED},
        S.PROMOTED: {E.PUBLISH: S.DONE},
    }
    expected = table.get(state, {}).get(event)
    if expected is None:
        with pytest.raises(ValueError, match="is invalid in state"):
            transition(state, event)
    else:
        assert transition(state, event) is expected


@pytest.mark.parametrize(
    ("replicas", "synchronous", "rule", "names"),
    [
        (2, 0, DEGRADE, ""),
        (2, 1, DEGRADE, 'ANY 1 ("a", "c")'),
        (2, 2, DEGRADE, 'ANY 1 ("c")'),
        (2, 2, BLOCK, 'ANY 2 ("a", "c")'),
        (1, 1, DEGRADE, ""),
        (1, 1, BLOCK, 'ANY 1 ("a")'),
    ],
)
def test_the_promoted_one_waits_for_those_that_are_left_as_the_shard_says(replicas, synchronous, rule, names):
    """From its first commit on: degraded, it does not wait for the dead; blocked, it acknowledges nothing alone."""
    world = World.build(replicas=replicas, synchronous=synchronous, on_standby_loss=rule)
    world.commit(1)
    world.die("a")
    world.run()
    promoted = world.servers[world.published[-1][0]]
    assert promoted.names == names
    assert world.commit(2, through=promoted.name) == (rule is DEGRADE)
    assert_whole(world)
