"""Reports of witnesses reach every reader of the cache, with their age."""

import time

import msgspec
import pytest

from configservice.errors import WitnessUnavailable
from configservice.monitoring import witness_reports as witness
from configservice.monitoring.witness_reports import WitnessReader, WitnessReport, format_witness_keys, publish_reports
from configservice.topology.cluster_cache import ClusterCache
from configservice.topology.value_macs import ValueAuthenticator
from viewcounter.config import get_config

AUTHENTICATOR = ValueAuthenticator("s" * 50, kind="witness")
ONE = WitnessReport("shard1a", "10.0.0.1", 5432, True, 1.5)
OTHER = WitnessReport("shard1b", "10.0.0.2", 5432, False, 0.0, "no answer before the deadline")


@pytest.fixture
def own_cache(servers):
    own_cache = ClusterCache(get_config().cache.url.get_secret_value(), "a-cluster")
    with servers.valkey("broker").connect(database=1) as client:
        client.delete(*format_witness_keys(own_cache))
    return own_cache


def say(own_cache, witness, reports, authenticator=AUTHENTICATOR):
    publish_reports(own_cache, witness, reports, authenticator=authenticator)


def read(own_cache, instance=None):
    """Without ages."""
    received = WitnessReader(AUTHENTICATOR).read(own_cache, instance=instance)
    return {(h.witness, msgspec.structs.replace(h.report, age_seconds=0.0)) for h in received}


def without_age(witness, report):
    return (witness, msgspec.structs.replace(report, age_seconds=0.0))


def test_the_last_word_of_each_observer_counts(own_cache):
    say(own_cache, "host1:7", [OTHER])
    say(own_cache, "host1:7", [ONE])
    say(own_cache, "host2:9", [ONE, OTHER])
    expected = {without_age("host1:7", ONE), without_age("host2:9", ONE), without_age("host2:9", OTHER)}
    assert read(own_cache) == expected
    assert read(own_cache, "shard1b") == {without_age("host2:9", OTHER)}
    assert read(own_cache, "shard9z") == set()


def test_a_report_grows_older_from_the_age_it_had(own_cache):
    say(own_cache, "host1:7", [ONE])
    first = WitnessReader(AUTHENTICATOR).read(own_cache)[0].report.age_seconds
    time.sleep(0.05)
    second = WitnessReader(AUTHENTICATOR).read(own_cache)[0].report.age_seconds
    assert 1.5 <= first < second < 30


def test_observers_that_fall_silent_are_forgotten(own_cache, servers):
    say(own_cache, "host1:7", [ONE])
    with servers.valkey("broker").connect(database=1) as client:
        client.zincrby(format_witness_keys(own_cache)[0], -1000 * (witness.FORGET_SECONDS + 1), "host1:7")
        say(own_cache, "host2:9", [OTHER])
        assert read(own_cache) == {without_age("host2:9", OTHER)}
        assert client.hkeys(format_witness_keys(own_cache)[1]) == [b"host2:9"]
        for key in format_witness_keys(own_cache):
            assert 0 < client.ttl(key) <= witness.FORGET_SECONDS


def test_what_a_newer_release_says_is_left_out(own_cache, servers):
    say(own_cache, "host1:7", [ONE])
    with servers.valkey("broker").connect(database=1) as client:
        client.hset(format_witness_keys(own_cache)[1], "host1:7", b'{"new": 1}')
    assert WitnessReader(AUTHENTICATOR).read(own_cache) == []


def test_a_cache_that_is_away_is_said_not_taken_for_silence(own_cache):
    away = ClusterCache("redis://127.0.0.1:1/0", "a-cluster")
    with pytest.raises(WitnessUnavailable):
        WitnessReader(AUTHENTICATOR).read(away)
    with pytest.raises(WitnessUnavailable):
        say(away, "host1:7", [ONE])
