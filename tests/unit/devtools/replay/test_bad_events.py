"""Every kind of invalid event is refused by the gateway's validation, alone and not with its neighbours."""

import msgspec
import pytest

from configservice.topology.event_types import DEFAULT_EVENT_TYPES
from configservice.topology.model import Assignment, Topology
from devtools.replay.bad_events import create_spoilers
from tests.unit.devtools.replay.conftest import NOW
from viewcounter.events.viewer import ViewerDigest
from viewcounter.ingest.decoding import parse_items
from viewcounter.ingest.settings import AcceptWindow
from viewcounter.ingest.validation import Acceptor

WINDOW = AcceptWindow(past_seconds=7 * 86400, future_seconds=300)
SENDING_SECONDS = 900
SPOILERS = create_spoilers(
    sent_at=NOW,
    accept_window_seconds=WINDOW.past_seconds,
    accept_future_seconds=WINDOW.future_seconds,
    sending_seconds=SENDING_SECONDS,
)
NOW_MS = int(NOW.timestamp() * 1000)
GOOD_EVENT = {
    "event_id": f"{NOW_MS >> 16:08x}-{NOW_MS & 0xFFFF:04x}-7000-8000-000000000001",
    "video_id": "XpVt6Z1Gjjo",
    "event_type": "view",
    "occurred_at": "2026-03-01T12:34:56.789Z",
}
EXPECTED_CODES = {
    "event_type_unknown": "unknown_event_type",
    "occurred_at_too_old": "too_old",
    "occurred_at_too_new": "in_the_future",
    "event_id_of_another_time": "event_id_out_of_window",
}


def judge(items, *, at_us=NOW_MS * 1000):
    topology = Topology(1, shards=(), assignments=(Assignment(1, 1),), event_types=DEFAULT_EVENT_TYPES)
    body = msgspec.json.encode({"events": items})
    acceptor = Acceptor(topology, WINDOW, viewers=ViewerDigest(b"key"))
    return acceptor.accept(
        parse_items(body, is_ndjson=False, max_events=1000, explain_max_values=100_000), now_us=at_us
    )


def test_the_good_event_is_accepted():
    assert judge([GOOD_EVENT]).problems == []


@pytest.mark.parametrize("kind", SPOILERS)
@pytest.mark.parametrize("sent_after_seconds", [0, SENDING_SECONDS])
def test_bad_event_is_refused_and_its_neighbours_are_accepted(kind, sent_after_seconds):
    bad = SPOILERS[kind](dict(GOOD_EVENT))
    acceptance = judge([GOOD_EVENT, bad, GOOD_EVENT], at_us=(NOW_MS + sent_after_seconds * 1000) * 1000)
    assert acceptance.count == 2
    assert [(problem.index, problem.retryable) for problem in acceptance.problems] == [(1, False)]
    assert acceptance.problems[0].code == EXPECTED_CODES.get(kind, acceptance.problems[0].code)
