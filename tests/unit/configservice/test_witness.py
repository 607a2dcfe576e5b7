"""Which words of witnesses are accepted, and how old they are, whatever is written into the cache."""

import msgspec
import pytest

from configservice.monitoring.witness_reports import FORGET_SECONDS, WitnessReader, WitnessReport, format_report_name
from configservice.topology.value_macs import CLOCK_TOLERANCE_SECONDS, ValueAuthenticator

KEY = "reports"
WITNESS = "host1:7"
AUTHENTICATOR = ValueAuthenticator("s" * 50, kind="witness")
DEAD = WitnessReport("shard1a", "10.0.0.1", 5432, False, 0.5, "no answer")
ALIVE = WitnessReport("shard1a", "10.0.0.1", 5432, True, 0.5)


def say(report, *, at, witness=WITNESS, authenticator=AUTHENTICATOR):
    """What the witness writes at this instant of its own clock."""
    return authenticator.protect(
        msgspec.json.encode([report]), name=format_report_name(KEY, witness), good_until=at + FORGET_SECONDS
    )


@pytest.fixture
def decode():
    reader = WitnessReader(AUTHENTICATOR)

    def decode(value, *, now, spoke_seconds_ago=0.0, witness=WITNESS):
        """Whether it is reachable and how many seconds ago it was seen; None: nothing is accepted."""
        received = reader.decode(
            [(witness.encode(), 1000 * (now - spoke_seconds_ago))],
            {witness: value},
            reports_key=KEY,
            cache_now_ms=round(1000 * now),
            now=now,
            monotonic_now=now,
        )
        return [(one.report.is_reachable, round(one.report.age_seconds, 3)) for one in received] or None

    return decode


def test_a_report_is_as_old_as_the_cache_says_or_as_it_is_known(decode):
    word = say(DEAD, at=1000.0)
    assert decode(word, now=1001.0, spoke_seconds_ago=1.0) == [(False, 1.5)]
    assert decode(word, now=1003.0, spoke_seconds_ago=3.0) == [(False, 3.5)]


def test_a_report_that_somebody_keeps_fresh_in_the_cache_grows_older_all_the_same(decode):
    word = say(DEAD, at=1000.0)
    assert decode(word, now=1000.0) == [(False, 0.5)]
    assert decode(word, now=1020.0, spoke_seconds_ago=0.0) == [(False, 20.5)]


def test_an_older_word_that_is_put_back_is_not_accepted_again(decode):
    old, new = say(DEAD, at=1000.0), say(ALIVE, at=1010.0)
    assert decode(old, now=1000.0) == [(False, 0.5)]
    assert decode(new, now=1010.0) == [(True, 0.5)]
    assert decode(old, now=1011.0) is None
    assert decode(new, now=1012.0, spoke_seconds_ago=2.0) == [(True, 2.5)]


def test_an_older_word_cannot_come_back_when_its_witness_is_forgotten(decode):
    old, new = say(DEAD, at=1000.0), say(ALIVE, at=1001.0)
    assert decode(new, now=1001.0) == [(True, 0.5)]
    for now in (1050.0, 1001.0 + FORGET_SECONDS + 2 * CLOCK_TOLERANCE_SECONDS, 1200.0):
        assert decode(old, now=now) is None


@pytest.mark.parametrize(
    "word",
    [
        say(DEAD, at=1000.0, authenticator=ValueAuthenticator("t" * 50, kind="witness")),
        say(DEAD, at=1000.0, witness="host2:9"),
        say(DEAD, at=1000.0 - FORGET_SECONDS - CLOCK_TOLERANCE_SECONDS - 1.0),
        say(DEAD, at=1000.0 + CLOCK_TOLERANCE_SECONDS + 1.0),
        msgspec.json.encode([DEAD]),
        b"",
    ],
)
def test_a_word_that_no_witness_of_ours_has_written_is_ignored(decode, word):
    assert decode(word, now=1000.0) is None


def test_what_a_newer_release_says_is_left_out(decode):
    word = AUTHENTICATOR.protect(b'{"new": 1}', name=format_report_name(KEY, WITNESS), good_until=1060.0)
    assert decode(word, now=1000.0) is None
