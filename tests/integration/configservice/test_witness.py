"""What observers say reaches whoever asks, with its age."""

import time

import msgspec
import pytest

from configservice import witness
from configservice.errors import WitnessUnavailable
from configservice.witness import Report, publish_reports, read_witness
from viewcounter.config import get_config

ONE = Report("shard1a", "10.0.0.1", 5432, True, 1.5)
OTHER = Report("shard1b", "10.0.0.2", 5432, False, 0.0, "no answer before the deadline")


@pytest.fixture
def url(servers):
    with servers.valkey("broker").connect(database=1) as client:
        client.delete(witness.SPOKE_KEY, witness.REPORTS_KEY)
    return get_config().cache_url.get_secret_value()


def read(url, instance=None):
    """Without ages."""
    heard = read_witness(url, instance=instance)
    return {(h.observer, msgspec.structs.replace(h.report, age_seconds=0.0)) for h in heard}


def without_age(observer, report):
    return (observer, msgspec.structs.replace(report, age_seconds=0.0))


def test_the_last_word_of_each_observer_counts(url):
    publish_reports(url, "host1:7", [OTHER])
    publish_reports(url, "host1:7", [ONE])
    publish_reports(url, "host2:9", [ONE, OTHER])
    expected = {without_age("host1:7", ONE), without_age("host2:9", ONE), without_age("host2:9", OTHER)}
    assert read(url) == expected
    assert read(url, "shard1b") == {without_age("host2:9", OTHER)}
    assert read(url, "shard9z") == set()


def test_a_report_grows_older_from_the_age_it_had(url):
    publish_reports(url, "host1:7", [ONE])
    first = read_witness(url)[0].report.age_seconds
    time.sleep(0.05)
    second = read_witness(url)[0].report.age_seconds
    assert 1.5 <= first < second < 30


def test_observers_that_fall_silent_are_forgotten(url, servers):
    publish_reports(url, "host1:7", [ONE])
    with servers.valkey("broker").connect(database=1) as client:
        client.zincrby(witness.SPOKE_KEY, -1000 * (witness.FORGET_SECONDS + 1), "host1:7")
        publish_reports(url, "host2:9", [OTHER])
        assert read(url) == {without_age("host2:9", OTHER)}
        assert client.hkeys(witness.REPORTS_KEY) == [b"host2:9"]
        for key in (witness.SPOKE_KEY, witness.REPORTS_KEY):
            assert 0 < client.ttl(key) <= witness.FORGET_SECONDS


def test_what_a_newer_release_says_is_left_out(url, servers):
    publish_reports(url, "host1:7", [ONE])
    with servers.valkey("broker").connect(database=1) as client:
        client.hset(witness.REPORTS_KEY, "host1:7", b'{"new": 1}')
    assert read_witness(url) == []


def test_a_cache_that_is_away_is_said_not_taken_for_silence(url):
    away = "redis://127.0.0.1:1/0"
    with pytest.raises(WitnessUnavailable):
        read_witness(away)
    with pytest.raises(WitnessUnavailable):
        publish_reports(away, "host1:7", [ONE])
