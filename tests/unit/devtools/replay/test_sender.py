import time
from collections import Counter
from contextlib import contextmanager

import pytest

from devtools.replay.batches import Batch
from devtools.replay.errors import DeadlinePassed, ServiceRefused, ServiceUnreachable
from devtools.replay.sender import send_batches
from devtools.replay.service import ReplayTarget
from tests.unit.devtools.replay.scripted_server import CUT, run_scripted_server


def build_batches(count, *, size=3, bad=None):
    for number in range(count):
        items = tuple({"event_id": f"{number}-{place}"} for place in range(size))
        yield Batch(items, bad=bad or {})


def accept(events, *, refuse=()):
    """The answer of the real service; `refuse` is (index, code, retryable) of each refused item."""
    items = [
        {"index": index, "event_id": None, "code": code, "field": None, "message": "no", "retryable": retryable}
        for index, code, retryable in refuse
    ]
    accepted = len(events) - len(items)
    status = 202 if not items else 207 if accepted else 422
    answer = {"request_id": "r", "accepted": accepted, "rejected": len(items), "items": items}
    return status, {}, answer | {"positions": {"7": "1763-0", "8": "1999-4"} if accepted else {}}


@contextmanager
def connect(script, *, seconds=10.0):
    with run_scripted_server(script) as url:
        service = ReplayTarget(url, "key", request_seconds=5, deadline=time.monotonic() + seconds, connections=4)
        try:
            yield service
        finally:
            service.close()


def send(service, batches, *, threads=1, use_gzip=False):
    return send_batches(service, batches, threads=threads, use_gzip=use_gzip, on_progress=lambda _: None)


def script_of(*answers):
    """Each call takes the next answer; a function is called with the events."""
    rest, seen = list(answers), []

    def script(path, body):
        seen.append([event["event_id"] for event in body["events"]])
        answer = rest.pop(0)
        return answer(body["events"]) if callable(answer) else answer

    return script, seen


def test_every_event_of_every_batch_is_sent_once_by_four_threads():
    seen: Counter[str] = Counter()

    def script(path, body):
        seen.update(event["event_id"] for event in body["events"])
        return accept(body["events"])

    with connect(script) as service:
        tally = send(service, build_batches(50), threads=4)
    assert set(seen.values()) == {1}
    assert len(seen) == 150
    assert (tally.accepted, tally.refused, service.retries) == (150, Counter(), 0)
    assert 0 <= time.time() - tally.acknowledged_until.timestamp() < 30


def test_compressed_requests_carry_the_same_events():
    script, seen = script_of(accept)
    with connect(script) as service:
        assert send(service, build_batches(1), use_gzip=True).accepted == 3
    assert seen == [["0-0", "0-1", "0-2"]]


@pytest.mark.parametrize("failure", [CUT, (503, {}, {}), (429, {"Retry-After": "0"}, {}), (502, {}, {}), (504, {}, {})])
def test_a_batch_without_a_final_answer_is_sent_again_with_the_same_events(failure):
    script, seen = script_of(failure, failure, accept)
    with connect(script) as service:
        tally = send(service, build_batches(1))
    assert seen == [["0-0", "0-1", "0-2"]] * 3
    assert (tally.accepted, service.retries) == (3, 2)


def test_retry_after_is_honoured():
    times = []

    def script(path, body):
        times.append(time.monotonic())
        return accept(body["events"]) if len(times) > 1 else (429, {"Retry-After": "1"}, {})

    with connect(script) as service:
        send(service, build_batches(1))
    assert times[1] - times[0] >= 1


def test_only_items_marked_retryable_are_sent_again():
    first = [(0, "unknown_event_type", False), (2, "log_unavailable", True)]
    script, seen = script_of(lambda events: accept(events, refuse=first), accept)
    with connect(script) as service:
        tally = send(service, build_batches(1))
    assert seen == [["0-0", "0-1", "0-2"], ["0-2"]]
    assert tally.accepted == 2
    assert tally.refused == {"unknown_event_type": 1}
    assert tally.wrongly_refused == ["{'event_id': '0-0'}: unknown_event_type no"]
    assert tally.wrongly_accepted == []


def test_refusals_of_bad_events_are_expected_and_a_bad_event_accepted_is_told():
    bad = {0: "null", 1: "not_an_object"}
    script, _ = script_of(lambda events: accept(events, refuse=[(0, "not_an_object", False)]))
    with connect(script) as service:
        tally = send(service, build_batches(1, bad=bad))
    assert (tally.accepted, tally.refused) == (2, {"not_an_object": 1})
    assert tally.wrongly_refused == []
    assert tally.wrongly_accepted == ["not_an_object: {'event_id': '0-1'}"]


def test_a_batch_of_bad_events_alone_is_settled_by_422():
    script, seen = script_of(lambda events: accept(events, refuse=[(0, "invalid", False)]))
    with connect(script) as service:
        tally = send(service, build_batches(1, size=1, bad={0: "null"}))
    assert len(seen) == 1
    assert (tally.accepted, tally.refused, tally.wrongly_accepted) == (0, {"invalid": 1}, [])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 500])
def test_an_answer_that_refuses_the_request_ends_the_run_at_once(status):
    script, seen = script_of((status, {}, {"code": "no"}), accept, accept)
    with connect(script) as service, pytest.raises(ServiceRefused, match=str(status)):
        send(service, build_batches(3))
    assert len(seen) == 1


def test_an_answer_that_does_not_account_for_every_event_ends_the_run():
    script, _ = script_of(lambda events: accept(events[:-1]))
    with connect(script) as service, pytest.raises(ServiceRefused, match="3 events sent"):
        send(service, build_batches(1))


def test_retries_end_at_the_deadline_naming_the_last_reason():
    with (
        connect(lambda *_: (503, {}, {"code": "log_down"}), seconds=0.5) as service,
        pytest.raises(DeadlinePassed, match="log_down"),
    ):
        send(service, build_batches(1))


def test_nobody_listening_is_told_at_once():
    with connect(lambda *_: CUT) as service:
        url = service.url
    service = ReplayTarget(url, "key", request_seconds=5, deadline=time.monotonic() + 60, connections=1)
    with pytest.raises(ServiceUnreachable, match="bin/up"):
        service.check_answers()
