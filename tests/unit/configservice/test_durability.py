"""Which standbys commits wait for, and the state while some are missing."""

import pytest
from msgspec.structs import replace

from configservice.errors import DurabilityRefused
from configservice.failover.durability import (
    SeenOnPrimary,
    classify_durability,
    find_living,
    list_settings,
    plan_for_promotion,
    plan_synchronous,
)
from configservice.failover.durability_change import check_durability
from configservice.monitoring.probe_result import InstanceState, ProbeResult
from configservice.topology.model import Durability, Role, StandbyLoss
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


@pytest.mark.parametrize(
    ("shard", "setting", "wanted", "seen_as"),
    [
        (build(ALL, replicas=1), "", 1, "degraded"),
        (build(ALL, rule=BLOCK, replicas=1), 'ANY 1 ("shard1a")', 1, "blocked"),
        (build(QUORUM, replicas=1), "", 1, "degraded"),
        (build(QUORUM, rule=BLOCK, replicas=1), 'ANY 1 ("shard1a")', 1, "blocked"),
        (build(ASYNC, replicas=1), "", 0, "met"),
    ],
)
def test_a_shard_whose_old_primary_is_away_does_not_seem_complete(shard, setting, wanted, seen_as):
    old, new = shard.instances
    promoted = replace(shard, instances=(replace(old, role=Role.FENCED), replace(new, role=Role.PRIMARY)))
    plan = plan_synchronous(promoted, living=())
    assert (plan.setting, plan.wanted) == (setting, wanted)
    assert plan == plan_for_promotion(shard, candidate="shard1b", living=())
    assert classify_durability(promoted, seen(setting=setting), patience_seconds=2.0)[0] == seen_as
    back = plan_synchronous(promoted, living={"shard1a"})
    assert not back.is_degraded
    assert classify_durability(promoted, seen("shard1a", setting=back.setting), patience_seconds=2.0)[0] == "met"


def test_every_plan_is_among_the_settings_that_a_shard_may_have():
    assert list_settings(build(ASYNC)) == {""}
    assert list_settings(build(ALL, rule=BLOCK)) == {'ANY 2 ("shard1b", "shard1c")'}
    assert list_settings(build(ALL)) == {
        "",
        'ANY 1 ("shard1b")',
        'ANY 1 ("shard1c")',
        'ANY 2 ("shard1b", "shard1c")',
    }


def state(**fields):
    fine = {
        "in_recovery": False,
        "is_read_only": False,
        "lsn": 1,
        "replay_lsn": 1,
        "timeline": 1,
        "is_receiving": False,
        "sender_host": None,
        "sender_port": None,
        "stream_silence_seconds": None,
        "stream_timeout_seconds": 3.0,
        "is_detached": False,
        "synchronous_standby_names": "",
        "streaming": ("shard1b", "shard1c", "walreceiver"),
    }
    return InstanceState(**fine | fields)


def sight(*, failed_at=None, **fields):
    answered = ProbeResult(watched_since=0.0).record_answer(state(**fields), now=90.0)
    return answered if failed_at is None else answered.record_failure("silent", is_gone=False, now=failed_at)


def find(**probes):
    living = {"shard1a": sight(), "shard1b": sight(), "shard1c": sight()}
    return find_living(build(ALL), living | probes, now=100.0, patience_seconds=1.5)


def test_a_standby_lives_while_it_streams_and_is_not_silent_for_too_long():
    assert find() == {"shard1b", "shard1c"}
    assert find(shard1b=sight(failed_at=98.5)) == {"shard1b", "shard1c"}
    assert find(shard1b=sight(failed_at=98.4)) == {"shard1c"}
    assert find(shard1a=sight(streaming=("shard1b",))) == {"shard1b"}


def test_nobody_can_tell_who_lives_while_the_primary_is_silent():
    assert find(shard1a=sight(failed_at=99.9)) is None
    assert find_living(build(ALL), {}, now=100.0, patience_seconds=1.5) is None


@pytest.mark.parametrize(
    ("durability", "quorum", "standbys", "field"),
    [(QUORUM, 0, 2, "quorum"), (QUORUM, 3, 2, "quorum"), (QUORUM, 1, 0, "quorum"), (ALL, 1, 0, "durability")],
)
def test_a_durability_that_could_never_be_met_is_refused_by_its_field(durability, quorum, standbys, field):
    with pytest.raises(DurabilityRefused) as refused:
        check_durability(durability, quorum=quorum, standby_count=standbys)
    assert refused.value.field == field


@pytest.mark.parametrize(("durability", "standbys"), [(ASYNC, 0), (QUORUM, 2), (ALL, 1)])
def test_a_durability_that_can_be_met_is_taken(durability, standbys):
    check_durability(durability, quorum=min(2, standbys) or 1, standby_count=standbys)


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
    assert classify_durability(shard, observed, patience_seconds=2.0)[0] == state


def test_the_reason_says_how_many_of_how_many_and_how_long():
    assert classify_durability(build(ALL), seen("shard1b", wait=7.4), patience_seconds=2.0)[1] == (
        "commits wait for 1 of 2 replicas; one has waited for 7 s"
    )
