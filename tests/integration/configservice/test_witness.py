"""What observers say reaches whoever asks, with its age by one clock."""

from dataclasses import replace

import pytest

from configservice import witness
from configservice.errors import WitnessUnavailable
from configservice.witness import Report, publish_reports, read_witness
from viewcounter.config import get_config

ONE = Report("host1:7", "shard1a", "10.0.0.1", 5432, True)
OTHER = Report("host2:9", "shard1a", "10.0.0.1", 5432, False, "no answer before the deadline")


@pytest.fixture
def url(servers):
    with servers.valkey("broker").connect(database=1) as client:
        client.delete("viewcounter:witness:shard1a", "viewcounter:witness:shard1b")
    return get_config().cache_url.get_secret_value()


def read(url, instance="shard1a", within_seconds=60.0):
    return [aged.report for aged in read_witness(url, instance, within_seconds=within_seconds)]


def test_the_newest_word_of_each_observer_counts(url):
    publish_reports(url, [ONE, OTHER, replace(ONE, instance="shard1b")])
    publish_reports(url, [replace(ONE, is_reachable=False, detail="refused")])
    assert read(url) == [replace(ONE, is_reachable=False, detail="refused"), OTHER]
    assert read(url, "shard1b") == [replace(ONE, instance="shard1b")]
    assert read(url, "shard9z") == []


def test_an_old_word_says_nothing(url):
    publish_reports(url, [ONE])
    ages = [aged.age_seconds for aged in read_witness(url, "shard1a", within_seconds=60)]
    assert len(ages) == 1 and 0 <= ages[0] < 30
    assert read(url, within_seconds=-1) == []


def test_reports_are_bounded_in_number_and_time(url, servers, monkeypatch):
    monkeypatch.setattr(witness, "REPORTS_KEPT", 10)
    for _ in range(3):
        publish_reports(url, [ONE] * 500)
    with servers.valkey("broker").connect(database=1) as client:
        assert client.xlen("viewcounter:witness:shard1a") < 300
        assert 0 < client.ttl("viewcounter:witness:shard1a") <= witness.KEPT_SECONDS


def test_a_cache_that_is_away_is_said_not_taken_for_silence(url):
    away = "redis://127.0.0.1:1/0"
    with pytest.raises(WitnessUnavailable):
        read_witness(away, "shard1a", within_seconds=60)
    with pytest.raises(WitnessUnavailable):
        publish_reports(away, [ONE])
