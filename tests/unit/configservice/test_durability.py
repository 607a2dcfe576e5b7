"""Whom commits wait for, and what is said when somebody is missing."""

import pytest
from msgspec.structs import replace

from configservice.durability import SeenOnPrimary, judge_durability, plan_synchronous
from configservice.topology import Durability, StandbyLoss
from tests.unit.clusterproxy.builders import build_shard

ASYNC, QUORUM, ALL = Durability.ASYNC, Durability.QUORUM, Durability.ALL
DEGRADE, BLOCK = StandbyLoss.DEGRADE, StandbyLoss.BLOCK


def build(durability, *, quorum=1, rule=DEGRADE, replicas=2):
    return replace(build_shard(1, replicas=replicas), durability=durability, quorum=quorum, on_standby_loss=rule)


@pytest.mark.parametrize(
    ("shard", "living", "setting", "wanted", "waited_for"),
    [
        (build(ASYNC), "bc", "", 0, 0),
        (build(QUORUM), "bc", 'ANY 1 ("shard1b", "shard1c")', 1, 1),
        (build(QUORUM), "c", 'ANY 1 ("shard1b", "shard1c")', 1, 1),
        (build(QUORUM), "", "", 1, 0),
        (build(QUORUM, quorum=2), "b", 'ANY 1 ("shard1b")', 2, 1),
        (build(QUORUM, rule=BLOCK), "", 'ANY 1 ("shard1b", "shard1c")', 1, 1),
        (build(ALL), "bc", 'ANY 2 ("shard1b", "shard1c")', 2, 2),
        (build(ALL), "c", 'ANY 1 ("shard1c")', 2, 1),
        (build(ALL, rule=BLOCK), "c", 'ANY 2 ("shard1b", "shard1c")', 2, 2),
        (build(ALL, replicas=0), "", "", 0, 0),
        (build(QUORUM, replicas=0), "", "", 1, 0),
        (build(QUORUM, rule=BLOCK, replicas=0), "", 'ANY 1 ("no-standby")', 1, 1),
    ],
)
def test_the_plan_names_whom_commits_wait_for(shard, living, setting, wanted, waited_for):
    plan = plan_synchronous(shard, living={f"shard1{letter}" for letter in living})
    assert (plan.setting, plan.wanted, plan.waited_for) == (setting, wanted, waited_for)
    assert plan.is_degraded == (waited_for < wanted)


def test_nobody_waits_for_a_drained_replica_or_for_a_stranger():
    shard = build(ALL)
    instances = tuple(replace(i, drained=i.name == "shard1c") for i in shard.instances)
    plan = plan_synchronous(replace(shard, instances=instances), living={"shard1b", "shard1c", "walreceiver"})
    assert (plan.setting, plan.wanted) == ('ANY 1 ("shard1b")', 1)


def seen(*synchronous, wait=0.0, setting="ANY 1"):
    return SeenOnPrimary(setting=setting, synchronous=synchronous, oldest_wait_seconds=wait)


@pytest.mark.parametrize(
    ("shard", "observed", "state"),
    [
        (build(ASYNC), None, "met"),
        (build(QUORUM), None, "unknown"),
        (build(QUORUM), seen("shard1b"), "met"),
        (build(QUORUM), seen("walreceiver"), "degraded"),
        (build(QUORUM), seen("shard1b", wait=2.5), "blocked"),
        (build(ALL), seen("shard1b"), "degraded"),
        (build(ALL, rule=BLOCK), seen("shard1b"), "blocked"),
        (build(ALL, rule=BLOCK), seen(setting=""), "degraded"),
        (build(ALL, rule=BLOCK), seen("shard1b", "shard1c"), "met"),
    ],
)
def test_what_is_seen_on_the_primary_is_judged_by_what_was_asked_for(shard, observed, state):
    assert judge_durability(shard, observed, patience_seconds=2.0)[0] == state


def test_the_reason_says_how_many_of_how_many_and_how_long():
    assert judge_durability(build(ALL), seen("shard1b", wait=7.4), patience_seconds=2.0)[1] == (
        "1 of 2 replicas hold a commit before it is answered; one has waited for 7 s"
    )
