"""Where answers come from, and when an old one is better than none."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shardproxy.errors import BadStatement
from tests.unit.cache.builders import (
    DOWN,
    NOW,
    SETTINGS,
    FakeShared,
    FunctionRead,
    Question,
    after,
    at_least,
    loaded,
    make_cache,
)
from tests.waiting import wait_until
from viewcounter.cache.read_cache import Origin, build_result, load_uncached


def ask(cache, question, *, now=NOW):
    """Values, origins and missing keys."""
    results = fetch(cache, question.request, now=now)
    return (
        {key: result.rows[0]["value"] for key, result in results.items() if result.rows},
        {key: str(result.origin) for key, result in results.items() if result.rows},
        {key for key, result in results.items() if result.error is not None},
    )


def fetch(cache, request, *, now):
    return load_uncached(request, now=now) if cache is None else cache.fetch(request, now=now)


def test_a_second_question_within_a_second_is_answered_by_the_process():
    cache, question = make_cache(), Question({"a": 1})
    assert ask(cache, question) == ({"a": 1}, {"a": "shard"}, set())
    question.values = {"a": 2}
    assert ask(cache, question, now=after(1.0)) == ({"a": 1}, {"a": "process"}, set())
    assert ask(cache, question, now=after(1.1)) == ({"a": 2}, {"a": "shard"}, set())
    assert len(question.asked) == 2


def test_a_kept_answer_says_when_it_was_read():
    cache, question = make_cache(), Question({"a": 1})
    ask(cache, question)
    assert cache.fetch(question.request, now=after(0.9))["a"].read_at == NOW


def test_another_process_finds_it_in_the_shared_cache_and_keeps_it():
    shared, question = FakeShared(), Question({"a": 1})
    ask(make_cache(shared), question)
    other = make_cache(shared)
    assert ask(other, question, now=after(0.5)) == ({"a": 1}, {"a": "shared"}, set())
    assert ask(other, question, now=after(0.6)) == ({"a": 1}, {"a": "process"}, set())
    assert ask(other, question, now=after(1.1)) == ({"a": 1}, {"a": "shard"}, set())
    assert len(question.asked) == 2


def test_a_cheap_answer_is_shared_only_when_asked_for_again_or_the_shard_fails():
    shared, question = FakeShared(), Question({"a": 1}, skip_shared_cache=True)
    ask(make_cache(shared), question)
    other = make_cache(shared)
    question.values = {"a": 2}
    assert ask(other, question, now=after(0.5)) == ({"a": 2}, {"a": "shard"}, set())
    question.values = {"a": 3}
    ask(make_cache(shared), question, now=after(1.4))
    assert ask(other, question, now=after(2.0)) == ({"a": 3}, {"a": "shared"}, set())
    question.values = {"a": None}
    assert ask(make_cache(shared), question, now=after(30.0)) == ({"a": 3}, {"a": "stale"}, set())


def test_only_what_is_missing_is_asked_for():
    cache = make_cache()
    ask(cache, Question({"a": 1, "b": 2}))
    question = Question({"a": 10, "b": 20, "c": 30})
    values, origins, _ = ask(cache, question)
    assert values == {"a": 1, "b": 2, "c": 30}
    assert origins == {"a": "process", "b": "process", "c": "shard"}
    assert question.asked == [["c"]]


def test_without_a_cache_every_question_reaches_the_shard():
    question = Question({"a": 1})
    for value in (1, 2):
        question.values = {"a": value}
        assert ask(None, question) == ({"a": value}, {"a": "shard"}, set())


def test_a_final_answer_lasts_as_long_as_its_generation():
    cache, question = make_cache(), Question({"a": 1}, generation=5, generation_in_force=5)
    ask(cache, question)
    question.values = {"a": 2}
    assert ask(cache, question, now=after(10**6)) == ({"a": 1}, {"a": "process"}, set())
    question.generation = question.generation_in_force = 6
    assert ask(cache, question, now=after(0.0)) == ({"a": 2}, {"a": "shard"}, set())


def test_an_answer_read_before_a_correction_is_not_valid_after_it():
    """A replica that is behind gives rows of the old generation when the new one is in force already."""
    cache = make_cache()
    late = Question({"a": 1}, generation=5, generation_in_force=6)
    assert ask(cache, late)[0] == {"a": 1}
    current = Question({"a": 2}, generation=6, generation_in_force=6)
    assert ask(cache, current, now=after(0.1)) == ({"a": 2}, {"a": "shard"}, set())


def test_an_expired_answer_is_served_as_stale_while_the_shard_is_down():
    cache, question = make_cache(), Question({"a": 1})
    ask(cache, question)
    question.values = {"a": None}
    assert ask(cache, question, now=after(60.0)) == ({"a": 1}, {"a": "stale"}, set())
    with pytest.raises(type(DOWN)):
        ask(cache, question, now=after(60.1))
    question.values = {"a": 3}
    assert ask(cache, question, now=after(61.0)) == ({"a": 3}, {"a": "shard"}, set())


def test_a_stale_answer_is_also_found_in_the_shared_cache():
    shared, question = FakeShared(), Question({"a": 1})
    ask(make_cache(shared), question)
    question.values = {"a": None}
    assert ask(make_cache(shared), question, now=after(30.0)) == ({"a": 1}, {"a": "stale"}, set())


def test_an_older_shared_answer_does_not_replace_a_newer_one_of_the_process():
    shared = FakeShared()
    ask(make_cache(shared), Question({"a": 1}))
    shared.is_dead, cache = True, make_cache(shared)
    ask(cache, Question({"a": 2}), now=after(5.0))
    shared.is_dead = False
    assert ask(cache, Question({"a": None}), now=after(10.0)) == ({"a": 2}, {"a": "stale"}, set())


def test_a_final_answer_of_a_shard_that_cannot_be_asked_is_stale():
    cache, question = make_cache(), Question({"a": 1}, generation=5, generation_in_force=5)
    ask(cache, question)
    question.values, question.generation_in_force = {"a": None}, None
    assert ask(cache, question, now=after(30.0)) == ({"a": 1}, {"a": "stale"}, set())


def test_what_one_shard_cannot_say_is_stale_or_missing_beside_what_others_say():
    cache = make_cache()
    ask(cache, Question({"a": 1}))
    question = Question({"a": None, "b": None, "c": 3})
    assert ask(cache, question, now=after(30.0)) == ({"a": 1, "c": 3}, {"a": "stale", "c": "shard"}, {"b"})


def test_what_could_be_read_in_part_is_given_but_not_kept():
    cache = make_cache()
    request = FunctionRead(function=lambda _: {"a": loaded({"value": 1}, error=DOWN)})
    result = cache.fetch(request, now=NOW)["a"]
    assert (result.rows, result.error) == ([{"value": 1}], DOWN)
    assert cache.peek("a", now=NOW) is None


def test_an_error_of_the_question_itself_is_never_answered_by_an_old_answer():
    cache, question = make_cache(), Question({"a": 1})
    ask(cache, question)

    def refuse(keys):
        raise BadStatement("wrong", instance="shard1a")

    with pytest.raises(BadStatement):
        cache.fetch(FunctionRead(function=refuse), now=after(30.0))


def test_a_reader_that_bypasses_cache_gets_nothing_kept_and_renews_what_others_get():
    shared = FakeShared()
    cache, question = make_cache(shared), Question({"a": 1})
    ask(cache, question)
    strong = Question({"a": 2}, allow_cached=False)
    assert ask(cache, strong) == ({"a": 2}, {"a": "shard"}, set())
    assert ask(cache, question) == ({"a": 2}, {"a": "process"}, set())
    strong.values = {"a": None}
    with pytest.raises(type(DOWN)):
        ask(cache, strong)


@pytest.mark.parametrize(("minimum", "expected"), [(1, ({"a": 1}, {"a": "process"})), (2, ({"a": 2}, {"a": "shard"}))])
def test_a_reader_with_a_demand_gets_a_kept_answer_only_if_it_will_do(minimum, expected):
    cache = make_cache(FakeShared())
    ask(cache, Question({"a": 1}))
    demanding = Question({"a": 2}, requirement=at_least(minimum))
    assert ask(cache, demanding)[:2] == expected


def test_a_stale_answer_that_does_not_meet_the_demand_is_not_served():
    cache = make_cache()
    ask(cache, Question({"a": 1}))
    with pytest.raises(type(DOWN)):
        ask(cache, Question({"a": None}, requirement=at_least(2)), now=after(30.0))
    met = Question({"a": None}, requirement=at_least(1))
    assert ask(cache, met, now=after(30.0))[:2] == ({"a": 1}, {"a": "stale"})


def test_readers_at_the_same_time_ask_once_and_those_who_waited_are_told_apart():
    cache, entered, release = make_cache(), threading.Event(), threading.Event()
    asked = []

    def load(keys):
        asked.append(keys)
        entered.set()
        assert release.wait(20)
        return {"a": loaded({"value": 1})}

    request = FunctionRead(function=load)
    with ThreadPoolExecutor(9) as pool:
        leader = pool.submit(cache.fetch, request, now=NOW)
        assert entered.wait(20)
        followers = [pool.submit(cache.fetch, request, now=NOW) for _ in range(8)]
        wait_until(lambda: cache.waiting_count == 8)
        release.set()
        assert leader.result()["a"].origin is Origin.SHARD
        assert {f.result()["a"].origin for f in followers} == {Origin.COALESCED}
    assert len(asked) == 1


def test_a_dead_shared_cache_changes_no_answer():
    shared, question = FakeShared(), Question({"a": 1})
    shared.is_dead = True
    cache = make_cache(shared)
    assert ask(cache, question) == ({"a": 1}, {"a": "shard"}, set())
    assert ask(cache, question) == ({"a": 1}, {"a": "process"}, set())


def test_an_answer_longer_than_the_bound_is_not_kept():
    cache = make_cache(settings=replace(SETTINGS, entry_max_bytes=10))
    question = Question({"a": "x" * 100})
    for _ in range(2):
        assert ask(cache, question)[1] == {"a": "shard"}


def test_with_no_time_to_be_fresh_nothing_is_used_again_but_a_stale_answer():
    cache, question = make_cache(settings=replace(SETTINGS, fresh_seconds=0.0)), Question({"a": 1})
    ask(cache, question)
    assert ask(cache, question, now=after(0.001))[1] == {"a": "shard"}
    question.values = {"a": None}
    assert ask(cache, question, now=after(10.0))[1] == {"a": "stale"}


def test_rows_come_back_as_they_were_with_decimals_as_text_that_is_as_good():
    row = {
        "partition": 3,
        "position": "17-0",
        "watermark": datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC),
        "count": 2**62,
        "sum": Decimal(2**70),
        "title": "The “first” one 🎬",
        "nothing": None,
        "is_dirty": False,
    }
    cache = make_cache()
    cache.fetch(FunctionRead(function=lambda _: {"a": replace(loaded(row), rows=[row, row])}), now=NOW)
    result = build_result(cache.peek("a", now=NOW), Origin.PROCESS)
    assert result.rows == [{**row, "sum": str(2**70)}] * 2
