"""Receipts of events that a real drain has judged, on real shards."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from clusterproxy.errors import PositionLost
from clusterproxy.plan import Consistency
from tests.integration.processing.draining import make_drainer
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.interface import START, Position
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.events.partition import get_partition
from viewcounter.processing.settings import PieceLimits
from viewcounter.queries.freshness import ReadOptions
from viewcounter.queries.receipts import ReceiptQuery, get_receipt, read_applied
from viewcounter.storage.id_pieces import merge_id_pieces

SOME_ID = "0c5f1cd1-8a0f-4a37-9b0d-4b5f6a8f1d11"
VIDEO = "XpVt6Z1Gjjo"
VIEW, NO_TYPE = 1, 999
NOW = datetime.now(UTC)
NOW_US = int(NOW.timestamp() * 1_000_000)
OCCURRED = datetime.fromtimestamp(NOW_US // 1_000_000, UTC)

MANY_PIECES = PieceLimits(max_pieces=100, small_ids=10)


def make_id(version):
    number = uuid.uuid4().int & ~(0xF << 76)
    if version == 7:
        number = (number & (1 << 80) - 1) | (NOW_US // 1000) << 80
    return uuid.UUID(int=number | version << 76)


class Story:
    """A partition's log, drained flush by flush."""

    def __init__(self, cluster):
        self.cluster, self.log = cluster, MemoryEventLog()
        self.partition = get_partition(VIDEO, partition_count=cluster.topology.partition_count)

    def append(self, event_id, *, type_id=VIEW, value=0):
        at_us = int(OCCURRED.timestamp()) * 1_000_000
        payload = pack_entry([AcceptedEvent(event_id.bytes, VIDEO, type_id, at_us, value)], received_us=NOW_US)
        return self.log.append({self.partition: payload}).positions[self.partition]

    def drain(self):
        assert make_drainer(self.cluster, self.log, id_pieces=MANY_PIECES).drain([self.partition]).caught_up

    def ask(self, event_id, **options):
        question = ReceiptQuery(event_id, VIDEO, **options)
        strong = ReadOptions(consistency=Consistency.STRONG)
        return get_receipt(self.cluster, self.log, question, max_log_entries=10, now=NOW, options=strong)


@pytest.fixture
def story(api):
    return Story(api.cluster)


@pytest.mark.parametrize("version", [4, 7])
def test_an_event_is_followed_from_the_log_to_the_counts(story, version):
    event_id = make_id(version)
    assert story.ask(event_id).state == "unknown"
    first = story.append(event_id)
    assert story.ask(event_id).state == "pending"
    assert story.ask(event_id, position=first).state == "pending"
    story.drain()
    receipt = story.ask(event_id)
    assert (receipt.state, receipt.occurred_at, receipt.applied_through) == ("applied", OCCURRED, first)
    assert story.ask(event_id, occurred_at=OCCURRED).state == "applied"
    assert story.ask(event_id, occurred_at=OCCURRED + timedelta(minutes=1)).state == (
        "applied" if version == 7 else "unknown"
    )
    second = story.append(event_id)
    assert story.ask(event_id, position=second).state == "pending"
    story.drain()
    assert [story.ask(event_id, position=p).state for p in (None, first, second)] == ["applied", "applied", "duplicate"]
    third = story.append(event_id, value=1000)
    story.drain()
    assert [story.ask(event_id, position=p).state for p in (None, first, third)] == ["conflict", "applied", "conflict"]


def test_copies_are_told_apart_when_the_ids_of_their_minute_have_been_put_together(story):
    ids = [make_id(4) for _ in range(4)]
    firsts = []
    for event_id in ids:
        firsts.append(story.append(event_id))
        story.drain()
    seconds = [story.append(event_id) for event_id in ids]
    story.drain()
    with story.cluster.transaction(story.partition) as connection:
        minute = int(OCCURRED.timestamp()) // 60
        assert merge_id_pieces(connection, story.partition, [minute], epoch=1, small_ids=10) == 3
    for event_id, first, second in zip(ids, firsts, seconds, strict=True):
        assert [story.ask(event_id, position=p).state for p in (first, second)] == ["applied", "duplicate"]
    with story.cluster.transaction(story.partition) as connection:
        assert merge_id_pieces(connection, story.partition, [minute], epoch=1, small_ids=10) == 0


def test_an_event_that_cannot_be_counted_is_a_dead_letter_with_its_reason(story):
    event_id = make_id(4)
    position = story.append(event_id, type_id=NO_TYPE)
    story.drain()
    receipt = story.ask(event_id, position=position)
    assert (receipt.state, receipt.reason, receipt.occurred_at) == ("dead_letter", "unknown_event_type", None)


def write_loss(story, after, through):
    with story.cluster.transaction(story.partition) as connection:
        connection.execute(
            "INSERT INTO log_loss (partition, after_position, through_position, reason) VALUES (%s, %s, %s, 'missing')",
            [story.partition, str(after), str(through)],
        )


def test_an_event_whose_entry_is_lost_is_gone_until_it_is_sent_again(api, story):
    event_id, kept_id = make_id(4), make_id(4)
    story.append(kept_id)
    kept = story.append(make_id(4))
    story.drain()
    lost = Position(kept.term, kept.seq + 1)
    with story.cluster.transaction(story.partition) as connection:
        connection.execute(
            "UPDATE partition_state SET position = %s WHERE partition = %s", [str(lost), story.partition]
        )
    write_loss(story, START, lost)
    with pytest.raises(PositionLost):
        story.ask(event_id, position=lost)
    assert story.ask(event_id).state == "unknown"
    assert story.ask(kept_id, position=kept).state in {"applied", "duplicate"}
    response = api.call("GET", f"/v1/receipts/{event_id}?video_id={VIDEO}&position={lost}&consistency=strong")
    assert (response.status_code, response.json()["code"]) == (410, "lost")


def test_the_id_of_a_neighbour_in_its_packed_minute_is_not_taken_for_it(story):
    """An id made of the halves of two that lie side by side stands in the bytes, but is no id."""
    low, high = sorted([make_id(4), make_id(4)])
    for event_id in (low, high):
        story.append(event_id)
    story.drain()
    between = uuid.UUID(bytes=low.bytes[8:] + high.bytes[:8])
    assert story.ask(between, occurred_at=OCCURRED).state == "unknown"
    assert [story.ask(event_id).state for event_id in (low, high)] == ["applied", "applied"]


def test_positions_are_read_as_the_primaries_have_them(story):
    position = story.append(make_id(4))
    story.drain()
    other = (story.partition + 1) % 32
    applied = read_applied(story.cluster, [story.partition, other], deadline_seconds=10.0)
    assert {p: progress.position for p, progress in applied.items()} == {story.partition: position, other: (0, 0)}


def test_the_answer_is_what_the_document_says_and_can_be_revalidated(api, story):
    event_id = make_id(7)
    position = story.append(event_id)
    story.drain()
    path = f"/v1/receipts/{event_id}?video_id={VIDEO}&position={position}&consistency=strong"
    body = api.get(path, "/v1/receipts/{event_id}")
    assert (body["state"], body["partition"], body["applied_through"]) == ("applied", story.partition, str(position))
    answer = api.call("GET", path)
    assert api.call("GET", path, headers={"If-None-Match": answer["ETag"]}).status_code == 304


@pytest.mark.parametrize(
    ("path", "field", "code"),
    [
        ("not-a-uuid?video_id=a", "event_id", "invalid_uuid"),
        (f"{SOME_ID}", "video_id", "required"),
        (f"{SOME_ID}?video_id=a%20b", "video_id", "invalid_id"),
        (f"{SOME_ID}?video_id=a&position=7", "position", "invalid_position"),
        (f"{SOME_ID}?video_id=a&occurred_at=now", "occurred_at", "invalid_time"),
        (f"{SOME_ID}?video_id=a&postion=1-0", "postion", "unknown_parameter"),
    ],
)
def test_questions_that_cannot_be_answered_name_the_parameter(api, path, field, code):
    answer = api.call("GET", f"/v1/receipts/{path}")
    assert answer.status_code == 422
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]
