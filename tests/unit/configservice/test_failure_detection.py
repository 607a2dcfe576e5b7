"""A primary is dead only if our probes and a witness say so."""

import math
from dataclasses import replace

import pytest

from configservice.monitoring.failure_detection import Liveness, Observation, StandbyWitness, classify_primary
from configservice.monitoring.probe_result import ProbeResult
from configservice.settings import ConfigServiceSettings
from tests.unit.clusterproxy.builders import build_shard
from tests.unit.configservice.probes import BROKEN, NOW, PRIMARY_STATE, STREAMING, gone, saw, silent

SETTINGS = ConfigServiceSettings(primary_silence_seconds=1.5, stream_silence_seconds=2.5, first_sight_seconds=5.0)
SHARD = build_shard(1, replicas=2)


def judge(primary, *standbys, witnesses=None):
    probes = {"shard1a": primary} | dict(zip(("shard1b", "shard1c"), standbys, strict=False))
    witnesses_used = [StandbyWitness(SETTINGS)] if witnesses is None else witnesses
    return classify_primary(SHARD, probes, witnesses_used, now=NOW, settings=SETTINGS)


@pytest.mark.parametrize(
    ("primary", "standby", "is_dead"),
    [
        pytest.param(saw(PRIMARY_STATE), saw(BROKEN), False, id="it answers, whatever a standby reports"),
        pytest.param(gone(), saw(BROKEN), True, id="refused twice, and a broken stream"),
        pytest.param(gone(count=1), saw(BROKEN), False, id="a refusal alone may be a restart of the listener"),
        pytest.param(gone(), saw(STREAMING), False, id="a standby receives from it: this process is cut off"),
        pytest.param(silent(1.6), saw(BROKEN), True, id="silent, and a broken stream"),
        pytest.param(silent(1.4), saw(BROKEN), False, id="not silent for long enough"),
        pytest.param(
            silent(3.0), saw(replace(STREAMING, stream_silence_seconds=2.5)), True, id="frozen: the stream is silent"
        ),
        pytest.param(
            silent(3.0), saw(replace(STREAMING, stream_silence_seconds=2.3)), False, id="the stream may be idle"
        ),
        pytest.param(
            silent(9.0),
            saw(replace(STREAMING, stream_silence_seconds=9.0, stream_timeout_seconds=60.0)),
            False,
            id="a standby that requests a reply after 30 s proves nothing before",
        ),
        pytest.param(
            silent(40.0),
            saw(replace(STREAMING, stream_silence_seconds=31.0, stream_timeout_seconds=60.0)),
            True,
            id="but after it",
        ),
        pytest.param(
            silent(99.0),
            saw(replace(STREAMING, stream_silence_seconds=99.0, stream_timeout_seconds=0.0)),
            False,
            id="one that never requests a reply proves nothing",
        ),
        pytest.param(gone(), gone(), False, id="no other instance answers"),
        pytest.param(
            gone(), saw(BROKEN, seconds_ago=0.25), False, id="the standby was witnesses_used before the failure"
        ),
        pytest.param(
            gone(),
            saw(replace(STREAMING, sender_host="127.0.0.1", sender_port=5432)),
            False,
            id="a standby of a standby knows nothing of the primary",
        ),
        pytest.param(gone(), saw(PRIMARY_STATE), False, id="one that was promoted is no witness"),
    ],
)
def test_one_standby_as_witness(primary, standby, is_dead):
    assert judge(primary, standby).is_dead is is_dead


def test_one_standby_that_hears_the_primary_outweighs_another_that_does_not():
    verdict = judge(gone(), saw(BROKEN), saw(STREAMING))
    assert not verdict.is_dead
    assert "but shard1c: its WAL stream had a message 0.3 s ago" in verdict.why


def test_a_verdict_tells_both_witnesses_words():
    verdict = judge(gone(), saw(BROKEN))
    assert verdict.why == "shard1a refuses connections (connection refused); shard1b: its WAL stream is broken"


def test_other_witnesses_are_heard():
    class FixedWitness:
        def __init__(self, liveness):
            self.liveness = liveness

        def observe_primary(self, *_shard_and_sightings, **_now):
            return [Observation("the proxy", self.liveness, "it said so")]

    assert judge(gone(), witnesses=[FixedWitness(Liveness.DEAD)]).is_dead
    assert not judge(gone(), witnesses=[FixedWitness(Liveness.UNKNOWN)]).is_dead
    assert not judge(gone(), witnesses=[FixedWitness(Liveness.DEAD), FixedWitness(Liveness.ALIVE)]).is_dead


def test_a_primary_never_seen_alive_gets_its_time_after_our_start():
    never = (
        ProbeResult(NOW - 4).record_failure("refused", is_gone=True, now=NOW).record_failure("r", is_gone=True, now=NOW)
    )
    assert not judge(never, saw(BROKEN, seconds_ago=0.0)).is_dead
    assert judge(replace(never, watched_since=NOW - 6), saw(BROKEN, seconds_ago=0.0)).is_dead


def test_silence_is_forgiven_after_a_stall_of_our_own():
    forgiven = silent(30.0).reset_after_pause(now=NOW)
    assert not judge(forgiven, saw(BROKEN)).is_dead
    assert forgiven.answered_at == NOW


def test_a_shard_without_primary_is_not_judged():
    headless = build_shard(1)
    shard = type(headless)(id=1, name="shard1", term=1, instances=headless.replicas)
    verdict = classify_primary(shard, {}, [], now=NOW, settings=SETTINGS)
    assert (verdict.is_dead, verdict.why) == (False, "the shard has no primary")


def test_silence_of_one_never_seen_is_measured_from_the_start_of_the_watch():
    never = ProbeResult(-math.inf).record_failure("no answer", is_gone=False, now=NOW)
    assert judge(never, saw(BROKEN, seconds_ago=0.0)).is_dead
