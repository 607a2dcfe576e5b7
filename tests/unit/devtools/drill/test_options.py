import pytest

from devtools.drill.errors import BadDrillOption
from devtools.drill.options import DrillOptions, choose_seed
from devtools.drill.plan import ClusterPart
from devtools.drill.registry import FAULTS, QUICK_KINDS, QUICK_SEED, choose_faults


def test_a_quick_drill_has_the_same_plan_every_time_and_every_one_of_its_faults():
    assert choose_seed(None, quick=True, fresh=5) == QUICK_SEED
    plan = DrillOptions(seed=QUICK_SEED, quick=True).plan()
    assert sorted(fault.kind for fault in plan) == sorted(QUICK_KINDS)
    assert set(QUICK_KINDS) <= set(FAULTS)
    assert max(fault.at_seconds + fault.hold_seconds for fault in plan) < 60


def test_repeating_a_fault_needs_no_minutes():
    plan = DrillOptions(seed=1, kinds=("kill-primary",), repeat=10, minutes=0.1).plan()
    assert [fault.kind for fault in plan] == ["kill-primary"] * 10


def test_disks_are_filled_only_where_file_systems_can_be_mounted():
    filled = {"fill-log-disk", "fill-shard-disk"}
    assert filled <= {entry.kind.name for entry in DrillOptions(seed=1, can_mount=True).choose_faults()}
    assert not filled & {entry.kind.name for entry in DrillOptions(seed=1).choose_faults()}
    with pytest.raises(BadDrillOption, match="--faults: a full disk needs root"):
        DrillOptions(seed=1, kinds=("kill-log", "fill-log-disk")).check()


def test_no_fault_affects_a_part_that_is_absent():
    plan = DrillOptions(seed=1, minutes=30, without=("broker", "beat")).plan()
    absent = {ClusterPart.BROKER, ClusterPart.BEAT}
    assert all(not FAULTS[fault.kind].kind.touches & absent for fault in plan)
    with pytest.raises(BadDrillOption, match="--faults: some affect a part that is absent by --without broker"):
        DrillOptions(seed=1, kinds=("kill-log", "kill-broker"), without=("broker",)).check()


def test_a_part_that_counting_needs_cannot_be_absent():
    with pytest.raises(BadDrillOption, match="--without: 'log' is none of beat, broker"):
        DrillOptions(seed=1, without=("log",)).check()


def test_a_clock_is_stepped_only_where_a_library_can_be_built(monkeypatch):
    assert "step-log-clock" in {entry.kind.name for entry in choose_faults((), can_mount=False)}
    monkeypatch.setattr("devtools.drill.faults.lost_logs.COMPILER", "no-such-compiler")
    assert "step-log-clock" not in {entry.kind.name for entry in DrillOptions(seed=1).choose_faults()}
    with pytest.raises(BadDrillOption, match="--faults: a stepped clock needs a C compiler"):
        DrillOptions(seed=1, kinds=("step-log-clock",)).check()
