from pathlib import Path

import pytest

from viewcounter.operations.drill.catalogue import CATALOGUE, QUICK_KINDS, QUICK_SEED
from viewcounter.operations.drill.errors import BadOption
from viewcounter.operations.drill.options import DrillOptions, choose_seed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("kill-nobody",)}, "--faults: there is no kill-nobody"),
        ({"minutes": 0.0}, "--minutes: must be more than 0"),
        ({"minutes": -1.0}, "--minutes: must be more than 0"),
        ({"rate": 0}, "--rate: must be more than 0"),
        ({"repeat": -1, "kinds": ("kill-log",)}, "--repeat: must be more than 0"),
        ({"repeat": 2}, "--repeat: name what is to be repeated"),
        ({"journal_dir": Path("/nowhere")}, "--journal: /nowhere is no folder"),
    ],
)
def test_a_bad_option_is_named(options, message):
    with pytest.raises(BadOption, match=message):
        DrillOptions(seed=1, **options).check()


def test_a_quick_drill_has_the_same_plan_every_time_and_every_one_of_its_faults():
    assert choose_seed(None, quick=True, fresh=5) == QUICK_SEED
    plan = DrillOptions(seed=QUICK_SEED, quick=True).plan()
    assert sorted(fault.kind for fault in plan) == sorted(QUICK_KINDS)
    assert set(QUICK_KINDS) <= set(CATALOGUE)
    assert max(fault.at_seconds + fault.hold_seconds for fault in plan) < 60


def test_a_seed_is_used_as_given_and_else_a_fresh_one():
    assert choose_seed(7, quick=True, fresh=5) == 7
    assert choose_seed(None, quick=False, fresh=5) == 5


def test_repeating_a_fault_needs_no_minutes():
    plan = DrillOptions(seed=1, kinds=("kill-primary",), repeat=10, minutes=0.1).plan()
    assert [fault.kind for fault in plan] == ["kill-primary"] * 10


def test_disks_are_filled_only_where_file_systems_can_be_mounted():
    filled = {"fill-log-disk", "fill-shard-disk"}
    assert filled <= {entry.kind.name for entry in DrillOptions(seed=1, can_mount=True).get_entries()}
    assert not filled & {entry.kind.name for entry in DrillOptions(seed=1).get_entries()}
    with pytest.raises(BadOption, match="--faults: a full disk needs root"):
        DrillOptions(seed=1, kinds=("kill-log", "fill-log-disk")).check()
