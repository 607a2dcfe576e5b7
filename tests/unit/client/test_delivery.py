"""Delivery without I/O: what is done next, and that no event is lost or counted twice by the client itself."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from viewcounter_client import Options, Overflow
from viewcounter_client.delivery import Delivery, Send, SendSpooled, Store, Wait
from viewcounter_client.errors import LostRange
from viewcounter_client.events import PendingEvent
from viewcounter_client.verdict import Refusal, Rejection, Verdict

from tests.tiers import scale_examples


def make_event(number, size=100):
    return PendingEvent(f"id-{number}", b"x" * size)


def make_delivery(*, has_spool=False, **options):
    return Delivery(Options(**options), has_spool=has_spool, rng=random.Random(1))


def offer(delivery, count, *, now=0.0):
    events = [make_event(number) for number in range(count)]
    assert all(delivery.offer(event, now=now) for event in events)
    return tuple(events)


def test_an_event_waits_for_company_and_no_longer_than_it_lingers():
    delivery = make_delivery(linger_seconds=0.2, max_batch_events=3)
    assert delivery.next_action(now=0.0) == Wait(None)
    (event,) = offer(delivery, 1)
    assert delivery.next_action(now=0.05) == Wait(pytest.approx(0.15))
    assert delivery.next_action(now=0.2) == Send((event,))


def test_a_full_batch_goes_at_once_and_the_rest_waits():
    delivery = make_delivery(linger_seconds=0.2, max_batch_events=3)
    events = offer(delivery, 4)
    assert delivery.next_action(now=0.0) == Send(events[:3])
    delivery.on_verdict(Verdict(accepted=events[:3]), now=0.0)
    assert delivery.next_action(now=0.1) == Wait(pytest.approx(0.1))


def test_a_batch_ends_before_it_is_too_many_bytes():
    delivery = make_delivery(max_batch_events=10, max_batch_bytes=303)
    events = offer(delivery, 4)
    delivery.start_flush()
    assert delivery.next_action(now=0.0) == Send(events[:3])


def test_what_failed_goes_again_first_and_not_before_the_backoff():
    delivery = make_delivery(max_batch_events=2, backoff_first_seconds=1.0)
    events = offer(delivery, 3)
    delivery.next_action(now=0.0)
    delivery.on_verdict(Verdict(again=events[:2], is_failure=True), now=0.0)
    waited = delivery.next_action(now=0.0)
    assert isinstance(waited, Wait)
    assert 0 < waited.seconds <= 1.0
    assert delivery.next_action(now=1.0) == Send(events[:2])


def test_the_service_says_how_long_to_wait_within_a_bound():
    delivery = make_delivery(max_batch_events=1, retry_after_max_seconds=30)
    (event,) = offer(delivery, 1)
    delivery.next_action(now=0.0)
    delivery.on_verdict(Verdict(again=(event,), is_failure=True, retry_after_seconds=7), now=0.0)
    assert delivery.next_action(now=0.0) == Wait(7)
    delivery.next_action(now=7.0)
    delivery.on_verdict(Verdict(again=(event,), is_failure=True, retry_after_seconds=900), now=7.0)
    assert delivery.next_action(now=7.0) == Wait(30)


def test_an_open_breaker_lets_one_attempt_through_after_its_time():
    delivery = make_delivery(max_batch_events=1, breaker_failures=2, breaker_open_seconds=5, backoff_max_seconds=1)
    (event,) = offer(delivery, 1)
    for now in (0.0, 1.0):
        assert delivery.next_action(now=now) == Send((event,))
        delivery.on_verdict(Verdict(again=(event,), is_failure=True), now=now)
    assert not delivery.breaker.is_closed
    assert delivery.next_action(now=1.0) == Wait(5)
    assert delivery.next_action(now=6.0) == Send((event,))
    delivery.on_verdict(Verdict(accepted=(event,)), now=6.0)
    assert delivery.breaker.is_closed


REJECTED = Rejection(401, "invalid_key", "The API key is not valid.")


def test_a_rejected_client_pauses_keeps_its_events_and_says_why():
    delivery = make_delivery(max_batch_events=2, rejected_pause_seconds=30)
    events = offer(delivery, 2)
    delivery.next_action(now=0.0)
    delivery.on_verdict(Verdict(again=events, is_failure=True, rejection=REJECTED), now=0.0)
    assert (delivery.counters.pending, delivery.counters.refused, delivery.rejection) == (2, 0, REJECTED)
    assert delivery.next_action(now=0.0) == Wait(30)
    assert delivery.next_action(now=30.0) == Send(events)
    delivery.on_verdict(Verdict(accepted=events), now=30.0)
    assert (delivery.counters.accepted, delivery.rejection) == (2, None)


def test_a_rejected_client_puts_its_events_on_disk():
    delivery = make_delivery(has_spool=True, max_batch_events=1)
    (event,) = offer(delivery, 1)
    delivery.next_action(now=0.0)
    delivery.on_verdict(Verdict(again=(event,), is_failure=True, rejection=REJECTED), now=0.0)
    assert delivery.next_action(now=0.0) == Store((event,))


def test_a_new_api_key_is_tried_at_once():
    delivery = make_delivery(max_batch_events=1)
    (event,) = offer(delivery, 1)
    delivery.next_action(now=0.0)
    delivery.on_verdict(Verdict(again=(event,), is_failure=True, rejection=REJECTED), now=0.0)
    delivery.forget_rejection()
    assert (delivery.next_action(now=0.0), delivery.rejection) == (Send((event,)), None)


def test_a_service_that_fails_meanwhile_does_not_hide_the_rejection():
    delivery = make_delivery(max_batch_events=1)
    (event,) = offer(delivery, 1)
    delivery.next_action(now=0.0)
    delivery.on_verdict(Verdict(again=(event,), is_failure=True, rejection=REJECTED), now=0.0)
    delivery.next_action(now=30.0)
    delivery.on_verdict(Verdict(again=(event,), is_failure=True), now=30.0)
    assert delivery.rejection == REJECTED


def test_damaged_lines_of_the_spool_are_dropped_and_counted():
    delivery = make_delivery(has_spool=True)
    delivery.recover(5)
    assert delivery.next_action(now=0.0) == SendSpooled(Options().max_batch_events)
    events = tuple(make_event(number) for number in range(3))
    delivery.on_read(events)
    delivery.on_spooled_verdict(Verdict(accepted=events[:2], again=events[2:]), damaged=2, now=0.0)
    counters = delivery.counters
    assert (counters.accepted, counters.dropped, counters.spooled) == (2, 2, 1)
    assert counters.is_balanced


def test_a_request_that_is_too_large_is_halved_down_to_single_events():
    delivery = make_delivery(max_batch_events=4)
    events = offer(delivery, 4)
    for expected in (4, 2, 1):
        assert delivery.next_action(now=0.0) == Send(events[:expected])
        delivery.on_verdict(Verdict(again=events[:expected], is_too_large=True), now=0.0)


@pytest.mark.parametrize(
    ("overflow", "taken", "dropped", "first"),
    [(Overflow.DROP_NEWEST, False, 0, "id-0"), (Overflow.DROP_OLDEST, True, 1, "id-1")],
)
def test_a_full_buffer_follows_its_policy(overflow, taken, dropped, first):
    delivery = make_delivery(max_batch_events=2, max_buffer_events=2, overflow=overflow)
    offer(delivery, 2)
    assert delivery.offer(make_event(2), now=0.0) is taken
    assert delivery.counters.dropped == dropped
    assert delivery.next_action(now=0.0).events[0].event_id == first


def test_the_bytes_of_the_buffer_are_bounded_too():
    delivery = make_delivery(max_buffer_bytes=250, max_batch_bytes=250)
    offer(delivery, 2)
    assert not delivery.offer(make_event(2), now=0.0)


def test_during_an_outage_events_go_to_disk_and_from_there_oldest_first():
    delivery = make_delivery(has_spool=True, max_batch_events=1, breaker_failures=1, breaker_open_seconds=5)
    events = offer(delivery, 2)
    assert delivery.next_action(now=0.0) == Send(events[:1])
    delivery.on_verdict(Verdict(again=events[:1], is_failure=True), now=0.0)
    for event in events:
        assert delivery.next_action(now=0.0) == Store((event,))
        delivery.on_stored((event,))
    assert delivery.counters.spooled == 2
    assert delivery.next_action(now=0.0) == Wait(5)
    assert delivery.next_action(now=5.0) == SendSpooled(1)


def test_a_broken_disk_is_left_alone_for_a_while_and_memory_goes_on():
    delivery = make_delivery(has_spool=True, max_batch_events=1, breaker_failures=1, breaker_open_seconds=5)
    (event,) = offer(delivery, 1)
    delivery.next_action(now=0.0)
    delivery.on_verdict(Verdict(again=(event,), is_failure=True), now=0.0)
    assert delivery.next_action(now=1.0) == Store((event,))
    delivery.on_store_failed((event,), now=1.0)
    assert delivery.next_action(now=1.0) == Wait(4)
    assert delivery.next_action(now=5.0) == Send((event,))


@settings(max_examples=scale_examples(300), deadline=None)
@given(data=st.data(), has_spool=st.booleans(), overflow=st.sampled_from([Overflow.DROP_NEWEST, Overflow.DROP_OLDEST]))
def test_every_event_is_always_in_exactly_one_place(data, has_spool, overflow):
    """A random life: bursts, failures, mixed answers, full disks. What comes to an end does so once."""
    delivery = make_delivery(
        has_spool=has_spool,
        max_batch_events=3,
        max_buffer_events=6,
        breaker_failures=2,
        overflow=overflow,
    )
    spool, ended, now, number = [], [], 0.0, 0
    for _ in range(data.draw(st.integers(1, 40))):
        for _ in range(data.draw(st.integers(0, 4))):
            if not delivery.offer(make_event(number), now=now):
                delivery.count_dropped()
            number += 1
        now += data.draw(st.sampled_from([0.0, 0.1, 1.0, 20.0]))
        action = delivery.next_action(now=now)
        match action:
            case Send(events):
                verdict = draw_verdict(data, events)
                ended += verdict.accepted
                delivery.on_verdict(verdict, now=now)
            case Store(events):
                if data.draw(st.booleans()):
                    spool.append(events)
                    delivery.on_stored(events)
                else:
                    delivery.on_store_failed(events, now=now)
            case SendSpooled(max_events):
                part = spool.pop(0)
                sent, rest = part[:max_events], part[max_events:]
                delivery.on_read(sent)
                verdict = draw_verdict(data, sent)
                ended += verdict.accepted
                if verdict.again + rest:
                    spool.insert(0, verdict.again + rest)
                delivery.on_spooled_verdict(verdict, damaged=0, now=now)
        counters = delivery.counters
        assert counters.is_balanced
        assert counters.in_flight == 0
        assert counters.tracked == number
        assert counters.spooled == sum(map(len, spool))
        assert counters.accepted == len(ended) == len(set(ended))
        assert counters.pending <= 6 + 3  # what was taken may come back beside what came meanwhile


def draw_verdict(data, events):
    fates = [data.draw(st.sampled_from(["accepted", "refused", "again"])) for _ in events]
    by_fate = {f: tuple(e for e, fate in zip(events, fates, strict=True) if fate == f) for f in fates}
    again = by_fate.get("again", ())
    return Verdict(
        accepted=by_fate.get("accepted", ()),
        refused=tuple(Refusal(e.event_id, e.body, "code", "message") for e in by_fate.get("refused", ())),
        again=again,
        is_failure=bool(again),
    )


def accept(delivery, events, positions):
    delivery.start_flush()
    assert delivery.next_action(now=0.0) == Send(events)
    delivery.on_verdict(Verdict(accepted=events, positions=positions), now=0.0)


def test_accepted_events_that_the_service_has_lost_are_sent_again():
    delivery = make_delivery()
    first = offer(delivery, 2)
    accept(delivery, first, {3: "1-5", 4: "1-9"})
    second = offer(delivery, 3)
    accept(delivery, second, {3: "1-6"})
    assert delivery.send_again([LostRange(3, "1-5", "2-0")], now=0.0) == 3
    assert delivery.positions == {4: "1-9"}
    counters = delivery.counters
    assert (counters.accepted, counters.pending, counters.retried, counters.is_balanced) == (2, 3, 3, True)
    accept(delivery, second, {3: "2-1"})
    assert delivery.positions == {3: "2-1", 4: "1-9"}
    assert delivery.send_again([LostRange(3, "1-5", "2-0")], now=0.0) == 0


def test_only_the_last_accepted_events_are_kept():
    delivery = make_delivery(keep_accepted_events=3)
    for number in range(1, 4):
        accept(delivery, offer(delivery, 2), {0: f"1-{number}"})
    assert delivery.send_again([LostRange(0, "0-0", "1-9")], now=0.0) == 2
    assert delivery.positions == {}
