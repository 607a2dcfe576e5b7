"""Results of the proof for shards that differ from the acknowledgements of clients."""

from uuid import UUID

import pytest

from devtools.drill.load import LoadClient
from devtools.drill.proof import find_miscounts

ONE, TWO, POISON = UUID(int=1), UUID(int=2), UUID(int=3)
ADA = 5
"""The number of the viewer of event two; event one has none."""


def raw(event_id, viewer=None):
    return {"event_id": event_id, "viewer": (ADA if event_id == TWO else 0) if viewer is None else viewer}


def build_shards():
    """Rows by statement's table, as they should be for events one and two."""
    counts = [{"video_id": "a", "event_type_id": 1, "count": 2}]
    return {
        "raw_event": [raw(ONE), raw(TWO)],
        "event_ids": [{"ids": ONE.bytes + TWO.bytes}],
        "event_type": [{"id": 1, "name": "view"}],
        "event_total": counts,
        "event_minute": [dict(counts[0], count=1), dict(counts[0], count=1)],
        "ledger": [{"counted": 2, "conflict": 0, "dead": 0}, {"counted": None, "conflict": None, "dead": None}],
        "dead_letter": [],
    }


def judge(shards, *, poison=(), viewers=None):
    load = LoadClient("http://127.0.0.1:9", "key", seed=1)
    load.acknowledged = {ONE: ("a", "view"), TWO: ("a", "view")}
    load.viewers = {TWO: "ada"} if viewers is None else viewers
    return find_miscounts(load, lambda sql: shards[sql.split(" FROM ")[1].split()[0]], poison=poison)


def test_shards_that_hold_what_was_acknowledged_are_exact():
    assert judge(build_shards()) == []


@pytest.mark.parametrize(
    ("table", "rows", "said"),
    [
        ("raw_event", [raw(ONE)], f"raw events: 1 acknowledged events are lost: {TWO}"),
        ("raw_event", [raw(e) for e in (ONE, TWO, TWO)], f"raw events: 1 exist more than once: {TWO}"),
        (
            "raw_event",
            [raw(e) for e in (ONE, TWO, POISON)],
            f"raw events: 1 exist that were never acknowledged: {POISON}",
        ),
        ("raw_event", [raw(ONE), raw(TWO, 0)], f"viewers: 1 raw events have another viewer: {TWO}"),
        ("raw_event", [raw(ONE, ADA), raw(TWO)], f"viewers: 1 raw events have another viewer: {ONE}"),
        ("event_ids", [{"ids": ONE.bytes}], f"known ids: 1 acknowledged events are lost: {TWO}"),
        ("event_ids", [{"ids": ONE.bytes + TWO.bytes + TWO.bytes}], f"known ids: 1 exist more than once: {TWO}"),
        (
            "event_total",
            [{"video_id": "a", "event_type_id": 1, "count": 3}],
            "event_total: 1 counts are wrong: a view: 3 instead of 2",
        ),
        ("event_minute", [], "event_minute: 1 counts are wrong: a view: 0 instead of 2"),
        ("ledger", [{"counted": 3, "conflict": 0, "dead": 0}], "ledger: 3 events counted, 2 acknowledged"),
        (
            "ledger",
            [{"counted": 2, "conflict": 1, "dead": 0}],
            "ledger: 1 conflicts, although no two events had the same id",
        ),
        ("ledger", [{"counted": 2, "conflict": 0, "dead": 1}], "ledger: 1 events dead-lettered, 0 dead letters"),
    ],
)
def test_each_deviation_is_named(table, rows, said):
    assert judge(build_shards() | {table: rows}) == [said]


@pytest.mark.parametrize(
    ("viewers", "numbers", "wrong"),
    [
        ({ONE: "ada", TWO: "ada"}, (ADA, ADA), []),
        ({ONE: "ada", TWO: "bob"}, (ADA, -1), []),
        ({ONE: "ada", TWO: "ada"}, (ADA, -1), [TWO]),
        ({ONE: "ada", TWO: "bob"}, (ADA, ADA), [TWO]),
    ],
)
def test_one_viewer_has_one_number_and_two_have_two(viewers, numbers, wrong):
    shards = build_shards() | {"raw_event": [raw(ONE, numbers[0]), raw(TWO, numbers[1])]}
    said = [f"viewers: {len(wrong)} raw events have another viewer: {wrong[0]}"] if wrong else []
    assert judge(shards, viewers=viewers) == said


def test_a_poison_event_must_be_a_dead_letter_and_nothing_else_may_be_one():
    letter = {"event_id": POISON, "reason": "untranslatable", "detail": "", "attempts": 1}
    ledger = [{"counted": 2, "conflict": 0, "dead": 1}]
    assert judge(build_shards() | {"dead_letter": [letter], "ledger": ledger}, poison={POISON}) == []
    assert judge(build_shards(), poison={POISON}) == [f"dead letters: none instead of {POISON}"]
    assert len(judge(build_shards() | {"dead_letter": [letter], "ledger": ledger})) == 1


def test_a_drill_in_which_nothing_was_acknowledged_proves_nothing():
    load = LoadClient("http://127.0.0.1:9", "key", seed=1)
    assert find_miscounts(load, lambda _sql: []) == ["no event was acknowledged, so nothing is proved"]
