"""What an answer means for each event of its batch."""

import json

import pytest
from viewcounter_client.events import PendingEvent
from viewcounter_client.verdict import classify_response

BATCH = tuple(PendingEvent(f"id-{number}", b"{}") for number in range(3))


def classify(status, answer=None, *, retry_after=None, batch=BATCH):
    body = b"" if answer is None else json.dumps(answer).encode()
    return classify_response(batch, status=status, body=body, retry_after=retry_after)


def item(index, *, retryable=False):
    return {"index": index, "code": "invalid_id", "field": "video_id", "message": "Bad.", "retryable": retryable}


def test_all_accepted():
    verdict = classify(202, {"items": [], "positions": {"3": "17-0"}})
    assert (verdict.accepted, verdict.refused, verdict.again) == (BATCH, (), ())
    assert verdict.positions == {3: "17-0"}
    assert not verdict.is_failure


def test_of_a_mixed_answer_only_the_retryable_events_go_again():
    verdict = classify(207, {"items": [item(0), item(2, retryable=True)], "positions": {}})
    assert verdict.accepted == (BATCH[1],)
    assert [(r.event_id, r.code, r.message) for r in verdict.refused] == [("id-0", "invalid_id", "Bad.")]
    assert verdict.again == (BATCH[2],)
    assert verdict.is_failure


def test_none_valid_refuses_each_event_for_its_own_reason():
    verdict = classify(422, {"items": [item(0), item(1), item(2)]})
    assert [r.event_id for r in verdict.refused] == ["id-0", "id-1", "id-2"]
    assert not verdict.is_failure


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_service_that_cannot_now_is_asked_again_when_it_says(status):
    verdict = classify(status, {"code": "overloaded"}, retry_after="7")
    assert (verdict.again, verdict.retry_after_seconds, verdict.is_failure) == (BATCH, 7.0, True)


@pytest.mark.parametrize("retry_after", [None, "", "soon", "-1", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_retry_after_that_is_no_number_of_seconds_says_nothing(retry_after):
    assert classify(503, retry_after=retry_after).retry_after_seconds is None


@pytest.mark.parametrize("status", [301, 308, 401, 403, 404, 405, 421])
def test_a_rejected_client_keeps_its_events(status):
    verdict = classify(status, {"code": "invalid_key", "detail": "The API key is not valid."})
    assert (verdict.again, verdict.refused, verdict.is_failure) == (BATCH, (), True)
    assert (verdict.rejection.status, verdict.rejection.code) == (status, "invalid_key")


def test_a_rejection_can_be_read_whatever_server_made_it():
    assert str(classify(401, {"code": "invalid_key", "detail": "No."}).rejection) == "401 invalid_key: No."
    assert str(classify(404).rejection) == "404: The server does not accept events at this address."
    assert str(classify(301).rejection).startswith("301: The address redirects;")


@pytest.mark.parametrize("status", [400, 415])
def test_a_request_that_is_refused_whole_refuses_its_events(status):
    verdict = classify(status, {"code": "missing_scope", "detail": "No."})
    assert [(r.event_id, r.code, r.message) for r in verdict.refused] == [
        (event.event_id, "missing_scope", "No.") for event in BATCH
    ]


def test_a_request_too_large_is_split_but_a_single_event_is_refused():
    assert classify(413, {"code": "too_many_events"}).is_too_large
    verdict = classify(413, {"code": "body_too_large", "detail": "Too large."}, batch=BATCH[:1])
    assert [r.code for r in verdict.refused] == ["body_too_large"]


@pytest.mark.parametrize("answer", [None, [], {"status": "ok"}])
def test_a_success_of_another_service_is_no_success(answer):
    verdict = classify(200, answer)
    assert (verdict.accepted, verdict.again, verdict.is_failure) == ((), BATCH, True)
