"""The lease of beat on a real broker: one of several beats sends, another one goes on when it is gone."""

import pytest

from tests.waiting import wait_until
from viewcounter.processing.beat_lease import KEY, BeatLease

SECONDS = 30.0
SHORT_SECONDS = 0.2


@pytest.fixture
def broker(servers):
    with servers.valkey("broker").connect() as client:
        client.delete(KEY)
        yield client
        client.delete(KEY)


def test_one_of_two_beats_holds_the_lease_and_renews_it(broker):
    first, second = (BeatLease(lambda: broker, seconds=SECONDS) for _ in range(2))
    assert [first.hold(), second.hold(), first.hold(), second.hold()] == [True, False, True, False]
    broker.pexpire(KEY, 5_000)
    assert first.hold()
    assert broker.pttl(KEY) > 25_000


def test_a_beat_that_stops_in_order_gives_its_lease_to_another_one(broker):
    first, second = (BeatLease(lambda: broker, seconds=SECONDS) for _ in range(2))
    assert first.hold()
    second.release()  # it holds nothing, so nothing changes
    assert not second.hold()
    first.release()
    assert [second.hold(), first.hold()] == [True, False]


def test_the_lease_of_a_beat_that_died_ends_by_itself(broker):
    assert BeatLease(lambda: broker, seconds=SHORT_SECONDS).hold()
    wait_until(BeatLease(lambda: broker, seconds=SECONDS).hold, what="the lease to end")


def test_a_broker_that_has_lost_the_lease_grants_it_again(broker):
    first, second = (BeatLease(lambda: broker, seconds=SECONDS) for _ in range(2))
    assert first.hold()
    broker.delete(KEY)
    assert [second.hold(), first.hold()] == [True, False]
