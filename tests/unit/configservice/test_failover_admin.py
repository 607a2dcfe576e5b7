"""The steps of a change of primary as the admin shows them."""

from datetime import UTC, datetime, timedelta

from configservice.admin.failovers import list_steps
from configservice.failover.records import Failover

AT = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds):
    return AT + timedelta(seconds=seconds)


def test_steps_are_told_in_their_order_with_the_time_since_the_request():
    failover = Failover(
        state="done",
        candidate="shard1b",
        requested_at=AT,
        started_at=after(0.1),
        chosen_at=after(0.25),
        promoted_at=after(0.5),
        finished_at=after(1.5),
    )
    assert list(list_steps(failover)) == [
        ("requested, or failure detected", AT, 0.0),
        ("started: standbys are detached", after(0.1), 0.1),
        ("chosen: shard1b", after(0.25), 0.25),
        ("promoted", after(0.5), 0.5),
        ("finished: done", after(1.5), 1.5),
    ]


def test_steps_that_were_never_reached_are_not_told():
    refused = Failover(state="refused", requested_at=AT, finished_at=after(0.1))
    assert [step for step, _, _ in list_steps(refused)] == ["requested, or failure detected", "finished: refused"]
