"""Looking at dead letters, replaying and discarding them: each event counts once, whatever happens in between."""

from datetime import timedelta

import pytest

from tests.integration.processing.poisoned import (
    NOW,
    PARTITION,
    append,
    bury,
    event,
    fill,
    get_rules,
    make_drainer,
    poison,
    query,
    read_ledger,
    read_letters,
    read_total,
    too_large,
)
from tests.unit.processing.builders import uuid4_of
from viewcounter.deadletters import replay as domain
from viewcounter.deadletters.errors import UnknownDeadLetter
from viewcounter.deadletters.replay import (
    DeadLetterId,
    Result,
    discard_dead_letters,
    get_dead_letter,
    iterate_dead_letters,
    list_dead_letters,
    replay_dead_letters,
)
from viewcounter.eventlog.errors import EventLogError
from viewcounter.eventlog.interface import AppendResult
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.storage.dead_letters import DeadLetterFilter, DeadLetterState

OTHER_PARTITION = 4
"""On the other shard."""


@pytest.fixture
def log():
    return MemoryEventLog()


@pytest.fixture
def letter(clean_cluster, log):
    """The id of a dead letter whose cause has gone meanwhile."""
    fill(clean_cluster, to=2**63 - 1000)
    [found] = bury(clean_cluster, log, too_large(1))
    fill(clean_cluster, to=0)
    return found


def replay(cluster, log, *ids, actor="op", **options):
    return [
        outcome.result
        for outcome in replay_dead_letters(cluster, log, ids, actor=actor, rules=get_rules(cluster, **options))
    ]


def test_a_replayed_event_counts_once_and_the_ledger_balances(clean_cluster, log, letter):
    assert replay(clean_cluster, log, letter) == [Result.REPLAYED]
    assert replay(clean_cluster, log, letter) == [Result.UNCHANGED]
    make_drainer(clean_cluster, log).drain([PARTITION])
    assert read_total(clean_cluster, "full") == (1, 4000)
    [raw] = query(clean_cluster, "SELECT viewer FROM raw_event WHERE partition = %(p)s AND video_id = 'full'")
    assert raw["viewer"] == -1
    assert read_ledger(clean_cluster) == (3, 2, 0, 0, 1)
    found, _ = get_dead_letter(clean_cluster, letter)
    assert (found.letter.state, found.letter.actor) == (DeadLetterState.REPLAYED, "op")
    assert found.letter.resolved_at is not None


def test_dying_between_append_and_mark_leaves_it_new_and_replaying_again_is_harmless(
    clean_cluster, log, letter, monkeypatch
):
    def die(*_, **__):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(domain, "resolve_dead_letters", die)
        with pytest.raises(RuntimeError):
            replay(clean_cluster, log, letter)
    assert get_dead_letter(clean_cluster, letter)[0].letter.state is DeadLetterState.NEW
    make_drainer(clean_cluster, log).drain([PARTITION])
    assert read_total(clean_cluster, "full") == (1, 4000)
    assert replay(clean_cluster, log, letter) == [Result.REPLAYED]
    make_drainer(clean_cluster, log).drain([PARTITION])
    assert read_total(clean_cluster, "full") == (1, 4000)
    assert read_ledger(clean_cluster) == (4, 2, 1, 0, 1)


def test_an_event_that_its_client_has_sent_again_meanwhile_is_not_counted_twice(clean_cluster, log, letter):
    append(log, too_large(1))
    make_drainer(clean_cluster, log).drain([PARTITION])
    assert replay(clean_cluster, log, letter) == [Result.REPLAYED]
    make_drainer(clean_cluster, log).drain([PARTITION])
    assert read_total(clean_cluster, "full") == (1, 4000)
    assert read_ledger(clean_cluster) == (4, 2, 1, 0, 1)


def test_a_replayed_event_that_is_refused_again_is_new_again(clean_cluster, log):
    [found] = bury(clean_cluster, log, poison(1))
    assert replay(clean_cluster, log, found) == [Result.REPLAYED]
    make_drainer(clean_cluster, log).drain([PARTITION])
    [row] = read_letters(clean_cluster)
    assert (row["id"], row["state"], row["attempts"], row["actor"]) == (found.row_id, "new", 2, "")
    assert read_ledger(clean_cluster) == (3, 1, 0, 0, 2)


def test_an_event_is_refused_with_the_reason_why_it_cannot_be_replayed(clean_cluster, log, letter):
    unknown, *_ = bury(clean_cluster, log, event(2, type_id=99))
    log.append({PARTITION: b"no entry"})
    unreadable, *_ = bury(clean_cluster, log)
    late = NOW + timedelta(days=7, seconds=1)
    before = log.read_tails([PARTITION]).positions
    assert replay(clean_cluster, log, unknown, unreadable, DeadLetterId(1, 10**9), DeadLetterId(77, 1)) == [
        Result.UNKNOWN_EVENT_TYPE,
        Result.UNREADABLE,
        Result.NOT_FOUND,
        Result.NOT_FOUND,
    ]
    assert replay(clean_cluster, log, letter, now=late) == [Result.TOO_LATE]
    with clean_cluster.transaction(PARTITION) as connection:
        connection.execute(
            "UPDATE partition_state SET admits_since = %s, rolled_through = %s WHERE partition = 3",
            [NOW + timedelta(seconds=1)] * 2,
        )
    assert replay(clean_cluster, log, letter) == [Result.TOO_LATE]
    assert log.read_tails([PARTITION]).positions == before
    assert {row["state"] for row in read_letters(clean_cluster)} == {"new"}


def test_what_the_log_does_not_confirm_stays_new_and_the_others_are_replayed(clean_cluster, log, letter):
    same_shard = next(
        p for p in clean_cluster.topology.get_partitions_of(letter.shard_id) if p not in (PARTITION, OTHER_PARTITION)
    )
    [other] = bury(clean_cluster, log, event(5, type_id=99), partition=same_shard)
    with clean_cluster.shard_transaction(other.shard_id) as connection:
        connection.execute("UPDATE dead_letter SET event_type_id = 1 WHERE id = %s", [other.row_id])

    class FailingLog(MemoryEventLog):
        def append(self, entries):
            done = log.append({p: entry for p, entry in entries.items() if p != PARTITION})
            return AppendResult(done.positions, {p: EventLogError("down") for p in entries if p == PARTITION})

    assert replay(clean_cluster, FailingLog(), letter, other) == [Result.UNAVAILABLE, Result.REPLAYED]
    assert get_dead_letter(clean_cluster, letter)[0].letter.state is DeadLetterState.NEW
    assert get_dead_letter(clean_cluster, other)[0].letter.state is DeadLetterState.REPLAYED


def test_discarding_is_for_good_and_recorded(clean_cluster, log, letter):
    log.append({PARTITION: b"no entry"})
    unreadable, *_ = bury(clean_cluster, log)
    results = [outcome.result for outcome in discard_dead_letters(clean_cluster, [letter, unreadable], actor="one")]
    assert results == [Result.DISCARDED, Result.DISCARDED]
    again = discard_dead_letters(clean_cluster, [letter], actor="two")
    assert [(outcome.result, outcome.detail) for outcome in again] == [(Result.UNCHANGED, "discarded by one")]
    assert replay(clean_cluster, log, letter) == [Result.ALREADY_DISCARDED]
    assert get_dead_letter(clean_cluster, letter)[0].letter.actor == "one"


def test_a_replayed_one_cannot_be_discarded(clean_cluster, log, letter):
    replay(clean_cluster, log, letter)
    assert discard_dead_letters(clean_cluster, [letter], actor="op")[0].result is Result.ALREADY_REPLAYED


def test_pages_go_over_all_shards_newest_first_and_neither_repeat_nor_skip(clean_cluster, log):
    for number in range(6):
        for partition in (PARTITION, OTHER_PARTITION):
            bury(clean_cluster, log, event(number, type_id=99), event(100 + number, type_id=98), partition=partition)
    everything = list_dead_letters(clean_cluster, DeadLetterFilter(), before=None, limit=500).items
    assert len(everything) == 24
    assert len({found.id.shard_id for found in everything}) == 2
    places = [found.letter.place for found in everything]
    assert places == sorted(places, reverse=True)
    for size in (1, 7, 24):
        paged = list(iterate_dead_letters(clean_cluster, DeadLetterFilter(), page_size=size))
        assert [found.id for found in paged] == [found.id for found in everything]


def test_filters_choose_by_partition_state_reason_video_and_time(clean_cluster, log):
    bury(clean_cluster, log, event(1, "a", type_id=99), poison(2))
    bury(clean_cluster, log, event(3, "b", type_id=99), partition=OTHER_PARTITION)
    [first, *_] = list_dead_letters(clean_cluster, DeadLetterFilter(video_id="a"), before=None, limit=5).items
    discard_dead_letters(clean_cluster, [first.id], actor="op")
    moment = query(clean_cluster, "SELECT max(created_at) AS at FROM dead_letter WHERE partition = %(p)s")[0]["at"]

    def count(**wanted):
        return len(list_dead_letters(clean_cluster, DeadLetterFilter(**wanted), before=None, limit=50).items)

    assert count() == 3
    assert count(partition=PARTITION) == 2
    assert count(state=DeadLetterState.NEW) == 2
    assert count(state=DeadLetterState.DISCARDED) == 1
    assert count(reason="unknown_event_type") == 2
    assert count(reason="refused_by_shard", partition=OTHER_PARTITION) == 0
    assert count(video_id="b") == 1
    assert count(end=moment) == 0
    assert count(start=moment, partition=PARTITION) == 2


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "a-1", "1-1-1", "٣-1", "1-" + "9" * 30])
def test_a_text_that_is_no_id_is_no_dead_letter(text):
    with pytest.raises(UnknownDeadLetter):
        DeadLetterId.parse(text)


def test_an_id_names_one_event(clean_cluster, log):
    [found] = bury(clean_cluster, log, poison(7))
    assert DeadLetterId.parse(str(found)) == found
    letter, payload = get_dead_letter(clean_cluster, found)
    assert letter.letter.event_id == uuid4_of(7)
    assert letter.letter.payload_bytes == len(payload)
    with pytest.raises(UnknownDeadLetter):
        get_dead_letter(clean_cluster, DeadLetterId(found.shard_id, found.row_id + 1))
