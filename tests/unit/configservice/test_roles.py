"""What is put right between failovers."""

from dataclasses import replace

import msgspec
import pytest

from configservice.failover.conditions import derive_condition
from configservice.failover.kept_log import LogShare
from configservice.failover.records import Condition
from configservice.failover.roles import Correction, plan_roles
from configservice.monitoring.failure_detection import PrimaryVerdict
from configservice.monitoring.probe_result import ProbeResult
from configservice.settings import ConfigServiceSettings, FailoverMode
from configservice.topology.model import Role
from tests.unit.clusterproxy.builders import build_shard
from tests.unit.configservice.probes import BROKEN, NOW, PRIMARY_STATE, STREAMING, gone, saw

SETTINGS = ConfigServiceSettings(rejoin_max_lag_bytes=50)
FENCED_STATE = replace(PRIMARY_STATE, is_read_only=True)
PROMOTED = replace(PRIMARY_STATE, timeline=2, lsn=120)


def give_roles(**roles):
    shard = build_shard(1, replicas=2)
    instances = tuple(msgspec.structs.replace(i, role=roles.get(i.name, i.role)) for i in shard.instances)
    return msgspec.structs.replace(shard, instances=instances)


def plan(shard, *, mode=FailoverMode.AUTOMATIC, excluded=(), absent=None, settings=SETTINGS, log_share=None, **states):
    probes = {name: s if isinstance(s, ProbeResult) else saw(s) for name, s in states.items()}
    plans = plan_roles(
        shard,
        probes,
        mode=mode,
        excluded=excluded,
        absent_seconds=absent or {},
        log_share=log_share,
        now=NOW,
        settings=settings,
    )
    return [(p.correction, p.name) for p in plans]


def test_nothing_is_to_be_done_for_a_whole_shard():
    assert plan(give_roles(), shard1a=PRIMARY_STATE, shard1b=STREAMING, shard1c=STREAMING) == []


def test_a_second_primary_is_recorded_and_fenced():
    assert plan(give_roles(), shard1a=PRIMARY_STATE, shard1b=PROMOTED) == [
        (Correction.MARK_FENCED, "shard1b"),
        (Correction.FENCE, "shard1b"),
    ]


def test_an_old_primary_that_wakes_is_fenced_once():
    shard = give_roles(shard1a=Role.FENCED, shard1b=Role.PRIMARY)
    assert plan(shard, shard1a=PRIMARY_STATE, shard1b=PROMOTED) == [(Correction.FENCE, "shard1a")]
    assert plan(shard, shard1a=FENCED_STATE, shard1b=PROMOTED) == []


def test_an_old_primary_that_wakes_while_the_new_one_is_away_is_fenced_too():
    shard = give_roles(shard1a=Role.FENCED, shard1b=Role.PRIMARY)
    assert plan(shard, shard1a=PRIMARY_STATE, shard1b=gone()) == [(Correction.FENCE, "shard1a")]


@pytest.mark.parametrize(("lsn", "corrections"), [(70, [(Correction.REJOIN, "shard1a")]), (69, [])])
def test_a_fenced_instance_is_a_replica_again_once_it_streams_and_is_close(lsn, corrections):
    shard = give_roles(shard1a=Role.FENCED, shard1b=Role.PRIMARY)
    state = replace(STREAMING, lsn=lsn, replay_lsn=lsn)
    assert plan(shard, shard1a=state, shard1b=PROMOTED, shard1c=STREAMING) == corrections


def test_a_standby_that_receives_from_nobody_is_reattached_while_there_is_a_primary():
    assert plan(give_roles(), shard1a=PRIMARY_STATE, shard1b=BROKEN) == [
        (Correction.REATTACH, "shard1b"),
        (Correction.RECORD_ABSENCE, "shard1b"),
    ]
    assert plan(give_roles(), shard1a=gone(), shard1b=BROKEN) == []


def test_a_primary_left_held_is_released():
    assert plan(give_roles(), shard1a=FENCED_STATE, shard1b=STREAMING) == [(Correction.RELEASE, "shard1a")]


HOUR = 3600.0
FALLEN_OUT = replace(STREAMING, is_receiving=False)
"""It answers and receives nothing, so it falls behind as a dead one does."""


def silent_for(seconds):
    return ProbeResult(watched_since=NOW - 100, answered_at=NOW - seconds, failed_at=NOW - seconds, failure_count=1)


@pytest.mark.parametrize(
    ("probe", "recorded", "corrections"),
    [
        (silent_for(9.9), None, []),
        (silent_for(10.0), None, [Correction.RECORD_ABSENCE]),
        (silent_for(10.0), 23.9 * HOUR, []),
        (silent_for(10.0), 24 * HOUR, [Correction.RELEASE_LOG_HOLD]),
        (silent_for(9.9), 24 * HOUR, []),
        (ProbeResult(watched_since=NOW - 100), 24 * HOUR, []),
        (saw(STREAMING), 24 * HOUR, [Correction.RECORD_RETURN]),
        (saw(STREAMING), None, []),
        (saw(FALLEN_OUT), None, [Correction.REATTACH, Correction.RECORD_ABSENCE]),
        (saw(FALLEN_OUT), 24 * HOUR, [Correction.REATTACH, Correction.RELEASE_LOG_HOLD]),
    ],
    ids=[
        "a blip",
        "away",
        "not long enough",
        "a day",
        "seen a moment ago",
        "not probed yet",
        "back",
        "there all the time",
        "fallen out",
        "fallen out for a day",
    ],
)
def test_a_replica_that_stays_absent_is_excluded_after_a_day(probe, recorded, corrections):
    absent = {} if recorded is None else {"shard1b": recorded}
    found = plan(give_roles(), absent=absent, shard1a=PRIMARY_STATE, shard1b=probe, shard1c=STREAMING)
    assert found == [(correction, "shard1b") for correction in corrections]


USED_UP, NOT_YET, TOO_MUCH = LogShare(100, 100), LogShare(99, 100), LogShare(150, 100)
SLOW = replace(STREAMING, lsn=100, replay_lsn=49)
"""It receives all and has yet to apply more than 50 bytes of it."""


@pytest.mark.parametrize(
    ("share", "probe", "recorded", "corrections"),
    [
        (USED_UP, silent_for(10.0), 11.0, [Correction.RELEASE_LOG_HOLD]),
        (NOT_YET, silent_for(10.0), 11.0, []),
        (None, silent_for(10.0), 11.0, []),
        (USED_UP, silent_for(10.0), None, [Correction.RECORD_ABSENCE]),
        (USED_UP, silent_for(9.9), 11.0, []),
        (USED_UP, saw(STREAMING), None, []),
        (TOO_MUCH, saw(SLOW), None, [Correction.RELEASE_LOG_HOLD]),
        (USED_UP, saw(SLOW), None, []),
    ],
    ids=["away", "not yet", "not known", "not recorded yet", "seen a moment ago", "there", "too slow", "slow"],
)
def test_a_replica_that_the_log_is_kept_for_is_excluded_once_its_share_is_used_up(share, probe, recorded, corrections):
    absent = {} if recorded is None else {"shard1b": recorded}
    found = plan(give_roles(), absent=absent, log_share=share, shard1a=PRIMARY_STATE, shard1b=probe, shard1c=STREAMING)
    assert found == [(correction, "shard1b") for correction in corrections]


def test_no_replica_is_excluded_while_the_primary_is_away_or_where_that_is_forbidden():
    absent = {"shard1b": 48 * HOUR}
    assert plan(give_roles(), absent=absent, shard1a=gone(), shard1b=silent_for(50)) == []
    assert plan(give_roles(), shard1a=gone(), shard1b=silent_for(50)) == []
    never = replace(SETTINGS, max_absence_seconds=0)
    assert plan(give_roles(), absent=absent, settings=never, shard1a=PRIMARY_STATE, shard1b=silent_for(50)) == []


@pytest.mark.parametrize("field", [{"promotable": False}, {"drained": True}, {"role": Role.FENCED}])
def test_only_replicas_that_the_log_is_kept_for_are_excluded(field):
    shard = build_shard(1, replicas=1)
    instances = (shard.instances[0], msgspec.structs.replace(shard.instances[1], **field))
    shard = msgspec.structs.replace(shard, instances=instances)
    assert plan(shard, absent={"shard1b": 48 * HOUR}, shard1a=PRIMARY_STATE, shard1b=silent_for(50)) == []


def test_an_external_manager_does_not_keep_the_log_from_being_trimmed():
    found = plan(
        give_roles(),
        mode=FailoverMode.EXTERNAL,
        absent={"shard1b": 48 * HOUR},
        shard1a=PRIMARY_STATE,
        shard1b=silent_for(50),
        shard1c=STREAMING,
    )
    assert found == [(Correction.RELEASE_LOG_HOLD, "shard1b")]


def test_an_excluded_instance_is_promotable_again_once_it_is_close():
    shard = give_roles()
    close, far = replace(STREAMING, lsn=60, replay_lsn=60), replace(STREAMING, lsn=60, replay_lsn=10)
    assert plan(shard, excluded={"shard1b"}, shard1a=PRIMARY_STATE, shard1b=close) == [
        (Correction.REINSTATE, "shard1b")
    ]
    assert plan(shard, excluded={"shard1b"}, shard1a=PRIMARY_STATE, shard1b=far) == []
    assert plan(shard, excluded=(), shard1a=PRIMARY_STATE, shard1b=close) == []


@pytest.mark.parametrize("mode", list(FailoverMode))
def test_a_primary_promoted_by_somebody_else_is_followed(mode):
    assert plan(give_roles(), mode=mode, shard1a=STREAMING, shard1b=PROMOTED) == [(Correction.FOLLOW, "shard1b")]
    assert plan(give_roles(), mode=mode, shard1a=gone(), shard1b=PROMOTED) == [(Correction.FOLLOW, "shard1b")]


def test_a_primary_that_only_hiccups_is_not_replaced_by_a_stray():
    assert plan(give_roles(), shard1a=gone(count=1), shard1b=PROMOTED) == []


class TestExternalMode:
    MODE = FailoverMode.EXTERNAL

    def test_of_two_primaries_the_one_promoted_later_is_followed(self):
        assert plan(give_roles(), mode=self.MODE, shard1a=PRIMARY_STATE, shard1b=PROMOTED) == [
            (Correction.FOLLOW, "shard1b")
        ]

    def test_no_server_is_touched(self):
        shard = give_roles(shard1a=Role.FENCED, shard1b=Role.PRIMARY)
        found = plan(shard, mode=self.MODE, shard1a=PRIMARY_STATE, shard1b=PROMOTED, shard1c=BROKEN)
        assert found == [(Correction.RECORD_ABSENCE, "shard1c")]

    def test_the_old_primary_is_a_replica_once_it_streams(self):
        shard = give_roles(shard1a=Role.FENCED, shard1b=Role.PRIMARY)
        assert plan(shard, mode=self.MODE, shard1a=replace(STREAMING, lsn=110), shard1b=PROMOTED) == [
            (Correction.REJOIN, "shard1a")
        ]


ALIVE, DEAD = PrimaryVerdict(False, "shard1a answers"), PrimaryVerdict(True, "shard1a is dead")


@pytest.mark.parametrize(
    ("primary", "standby", "verdict", "is_changing", "condition"),
    [
        (saw(PRIMARY_STATE), saw(STREAMING), ALIVE, False, Condition.WELL),
        (saw(PRIMARY_STATE), saw(BROKEN), ALIVE, False, Condition.WITHOUT_REPLICA),
        (saw(PRIMARY_STATE), gone(), ALIVE, False, Condition.WITHOUT_REPLICA),
        (gone(), saw(STREAMING), ALIVE, False, Condition.SUSPECT),
        (gone(), saw(BROKEN), DEAD, False, Condition.WITHOUT_PRIMARY),
        (gone(), saw(BROKEN), DEAD, True, Condition.CHANGING),
        (saw(FENCED_STATE), saw(STREAMING), ALIVE, False, Condition.WITHOUT_PRIMARY),
    ],
)
def test_the_condition_of_a_shard(primary, standby, verdict, is_changing, condition):
    probes = {"shard1a": primary, "shard1b": standby}
    assert derive_condition(give_roles(), probes, verdict, is_changing=is_changing)[0] is condition
