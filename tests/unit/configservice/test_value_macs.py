"""Only processes with the secret write valid values; no other can move, replay or change one."""

import pytest

from configservice.topology.value_macs import CLOCK_TOLERANCE_SECONDS, ValueAuthenticator

NOW = 1_000_000.0
NAME = "viewcounter:a-cluster:lag:3"


@pytest.fixture
def refusals():
    return []


@pytest.fixture
def authenticator(refusals):
    return make(on_refused=lambda: refusals.append(1))


def make(secret="s" * 50, kind="lag", **more):
    return ValueAuthenticator(secret, kind=kind, **more)


def test_what_one_process_writes_another_reads(authenticator, refusals):
    for value in (b"", b"value"):
        data = make().protect(value, name=NAME, good_until=NOW + 5)
        assert authenticator.read(data, name=NAME, now=NOW) == value
        assert authenticator.read_stamped(data, name=NAME, now=NOW) == (value, round((NOW + 5) * 1000))
    assert refusals == []


@pytest.mark.parametrize(
    "data",
    [
        make(secret="t" * 50).protect(b"value", name=NAME, good_until=NOW + 5),
        make(kind="witness").protect(b"value", name=NAME, good_until=NOW + 5),
        make().protect(b"value", name="viewcounter:another-cluster:lag:3", good_until=NOW + 5),
        make().protect(b"3value", name=NAME[:-1], good_until=NOW + 5),
        b"",
        b"value",
        b"x" * 39,
        b"x" * 1000,
    ],
)
def test_what_was_written_by_others_or_for_something_else_is_refused(authenticator, refusals, data):
    assert authenticator.read(data, name=NAME, now=NOW) is None
    assert len(refusals) == 1


def test_no_bit_can_be_changed(authenticator):
    data = make().protect(b"value", name=NAME, good_until=NOW + 5)
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        assert authenticator.read(changed, name=NAME, now=NOW) is None
    assert authenticator.read(data + b"x", name=NAME, now=NOW) is None


def test_a_value_ends_and_clocks_may_differ_by_a_minute(authenticator, refusals):
    data = make().protect(b"value", name=NAME, good_until=NOW)
    assert authenticator.read(data, name=NAME, now=NOW + CLOCK_TOLERANCE_SECONDS) == b"value"
    assert authenticator.read(data, name=NAME, now=NOW + CLOCK_TOLERANCE_SECONDS + 0.1) is None
    assert len(refusals) == 1
