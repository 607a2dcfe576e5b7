import itertools

import pytest

from devtools.drill.errors import BadDrillOption
from devtools.drill.plan import ClusterPart, Kind, Pace, plan_faults, plan_repeats, plan_tightly
from devtools.drill.registry import FAULTS

ALL = [entry.kind for entry in FAULTS.values()]
LOG = Kind("log", frozenset({ClusterPart.LOG}), (1.0, 2.0))
BEAT = Kind("beat", frozenset({ClusterPart.BEAT}))
BOTH = Kind("both", frozenset({ClusterPart.LOG, ClusterPart.BEAT}), (3.0, 3.0))


def test_the_same_seed_gives_the_same_plan_and_another_seed_another_one():
    assert plan_faults(7, minutes=30, kinds=ALL) == plan_faults(7, minutes=30, kinds=ALL)
    assert plan_faults(7, minutes=30, kinds=ALL) != plan_faults(8, minutes=30, kinds=ALL)
    assert plan_tightly(7, kinds=ALL) == plan_tightly(7, kinds=ALL)
    assert plan_tightly(7, kinds=ALL) != plan_tightly(8, kinds=ALL)


def test_every_kind_comes_once_alone_before_any_comes_together_with_another():
    plan = plan_faults(3, minutes=60, kinds=ALL)
    alone = plan[: len(ALL)]
    assert {fault.kind for fault in alone} == set(FAULTS)
    ends = [fault.at_seconds + fault.hold_seconds for fault in alone]
    assert all(later.at_seconds > end for later, end in zip(alone[1:], ends, strict=False))
    together = plan[len(ALL) :]
    pairs = [(a, b) for a, b in itertools.pairwise(together) if a.at_seconds == b.at_seconds]
    assert len(pairs) > 10
    assert all(not FAULTS[a.kind].kind.touches & FAULTS[b.kind].kind.touches for a, b in pairs)


@pytest.mark.parametrize("minutes", [0.5, 1, 3, 10])
def test_faults_end_before_the_load_does(minutes):
    for seed in range(20):
        for fault in plan_faults(seed, minutes=minutes, kinds=[LOG, BEAT]):
            assert fault.at_seconds + fault.hold_seconds <= minutes * 60 - Pace().last_seconds


def test_time_that_is_too_short_for_any_fault_is_refused():
    with pytest.raises(BadDrillOption, match=r"--minutes: 0\.1 is too short"):
        plan_faults(1, minutes=0.1, kinds=[LOG])


def test_a_tight_plan_has_every_kind_once_and_gives_each_part_its_time():
    pace = Pace(first_seconds=2.0, heal_seconds=3.0, calm_seconds=(0.0, 0.0), apart_seconds=1.0)
    for seed in range(30):
        plan = plan_tightly(seed, kinds=[LOG, BEAT, BOTH], pace=pace)
        assert {fault.kind for fault in plan} == {"log", "beat", "both"}
        kinds = {kind.name: kind for kind in (LOG, BEAT, BOTH)}
        for earlier, later in itertools.pairwise(plan):
            assert later.at_seconds >= earlier.at_seconds + 1.0
        for n, earlier in enumerate(plan):
            for later in plan[n + 1 :]:
                if kinds[earlier.kind].touches & kinds[later.kind].touches:
                    assert later.at_seconds >= round(earlier.at_seconds + earlier.hold_seconds + 3.0, 1) - 0.11


def test_repeats_come_one_after_the_other_and_so_often():
    plan = plan_repeats(5, kinds=[LOG, BEAT], repeat=3)
    assert [fault.kind for fault in plan] == ["log", "beat"] * 3
    ends = [fault.at_seconds + fault.hold_seconds for fault in plan]
    assert all(later.at_seconds > end for later, end in zip(plan[1:], ends, strict=False))
