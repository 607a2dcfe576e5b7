"""A replica that lacks entries of the event log is not promoted, unless the loss is accepted."""

from dataclasses import replace

import pytest

from configservice.errors import InvariantBroken
from configservice.failover.actions import Choose, RecordUndone, Refuse, Wait
from configservice.failover.plan import can_begin, check_action
from configservice.failover.state import FailoverKind
from tests.unit.configservice.shard_world import SETTINGS, build_dead

FORCED = FailoverKind.FORCED
LACKS = "lacks entries of partitions 3, 5 that the event log no longer holds: they would be lost"


def test_another_one_is_promoted_though_it_is_less_advanced():
    world = build_dead()
    world.servers["c"].lacks = (3,)
    world.run()
    assert world.published == [("b", 2)]


def test_with_nobody_else_it_is_undone_and_says_what_would_be_lost():
    world = build_dead(replicas=1)
    world.servers["b"].lacks = (3, 5)
    world.run()
    assert (world.published, world.actions[-1]) == ([], RecordUndone(f"b {LACKS}"))
    assert not can_begin(world.look(), old_primary="a")


def test_one_that_has_yet_to_apply_what_it_received_is_waited_for():
    world = build_dead()
    world.servers["c"].lacks, world.servers["c"].replayed = (3,), 2
    while not isinstance(world.step(), Wait):
        pass
    assert world.actions[-1] == Wait("c is replaying received WAL")
    world.servers["c"].lacks, world.servers["c"].replayed = (), None
    world.run()
    assert world.published == [("c", 2)]


@pytest.mark.parametrize("field", [{"lacks": (3, 5)}, {"promotable": False}], ids=["lacking", "excluded"])
def test_it_is_promoted_only_if_the_loss_is_accepted(field):
    for accepts_loss in (False, True):
        world = build_dead(replicas=1, kind=FORCED, target="b")
        world.attempt = replace(world.attempt, accepts_loss=accepts_loss)
        for name, value in field.items():
            setattr(world.servers["b"], name, value)
        world.run()
        assert world.published == ([("b", 2)] if accepts_loss else [])
        if not accepts_loss:
            why = LACKS if "lacks" in field else "is not promotable"
            assert world.actions == [Refuse(f"b {why}")]


def test_choosing_or_promoting_it_unasked_is_refused():
    world = build_dead(replicas=1)
    world.servers["b"].is_detached, world.servers["b"].lacks = True, (3, 5)
    with pytest.raises(InvariantBroken, match="b lacks entries of partitions 3, 5"):
        check_action(world.attempt, world.look(), Choose("b", 2))


def test_a_replay_that_stands_still_holds_up_another_one_only_so_long():
    world = build_dead()
    world.servers["c"].lacks, world.servers["c"].replayed = (3,), 2
    world.run(max_steps=int(SETTINGS.promotion_seconds / 0.2) + 20)
    assert world.published == [("b", 2)]
