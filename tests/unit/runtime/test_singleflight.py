"""One caller makes the call, the others wait: never for ever, and never for an answer that does not do for them."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from runtime.singleflight import (
    AsyncSingleFlight,
    FlightOutcome,
    SingleFlight,
    TooManyFlights,
    WaitedTooLong,
    is_everybodys_error,
)
from shardproxy.errors import BadStatement, DeadlineExceeded, PoolExhausted, StatementTimeout
from tests.waiting import wait_until, wait_until_async

PATIENCE_SECONDS = 20.0


class Shard:
    """Answers when it is told to; counts its questions."""

    def __init__(self):
        self.asked = threading.Semaphore(0)
        self.release = threading.Event()
        self.answers = iter(range(1, 1000))
        self.errors = []
        self.count = 0

    def ask(self):
        self.count += 1
        self.asked.release()
        assert self.release.wait(PATIENCE_SECONDS)
        if self.errors:
            raise self.errors.pop(0)
        return next(self.answers)


@pytest.fixture
def shard():
    return Shard()


@pytest.fixture
def threads():
    with ThreadPoolExecutor(60) as pool:
        yield pool


def run(flights, shard, *, seconds=PATIENCE_SECONDS, **options):
    return flights.run("key", shard.ask, deadline_at=time.monotonic() + seconds, **options)


def start(threads, flights, shard, *, followers, **options):
    """A leader that has asked, and followers that wait for it."""
    leader = threads.submit(run, flights, shard)
    assert shard.asked.acquire(timeout=PATIENCE_SECONDS)
    following = [threads.submit(run, flights, shard, **options) for _ in range(followers)]
    await_followers(flights, followers)
    return leader, following


def await_followers(flights, count):
    wait_until(lambda: flights.follower_count >= count)


def test_fifty_callers_ask_once(shard, threads):
    flights = SingleFlight(max_followers=100)
    leader, followers = start(threads, flights, shard, followers=49)
    shard.release.set()
    assert leader.result() == FlightOutcome(1, is_shared=False)
    assert [f.result() for f in followers] == [FlightOutcome(1, is_shared=True)] * 49
    assert shard.count == 1
    assert run(flights, shard) == FlightOutcome(2, is_shared=False)  # and a later one asks anew


def test_other_questions_do_not_wait(shard, threads):
    flights = SingleFlight(max_followers=100)
    leader, _ = start(threads, flights, shard, followers=0)
    assert flights.run("other", lambda: "at once", deadline_at=0.0) == FlightOutcome("at once", is_shared=False)
    shard.release.set()
    leader.result()


def test_beyond_the_cap_a_caller_asks_for_itself(shard, threads):
    flights = SingleFlight(max_followers=2)
    leader, followers = start(threads, flights, shard, followers=2)
    alone = threads.submit(run, flights, shard)
    assert shard.asked.acquire(timeout=PATIENCE_SECONDS)
    shard.release.set()
    outcomes = [leader.result(), alone.result()]
    assert {outcome.is_shared for outcome in outcomes} == {False}
    assert all(f.result().is_shared for f in followers)
    assert shard.count == 2


def test_a_follower_gives_up_at_its_own_deadline_while_the_leader_goes_on(shard, threads):
    flights = SingleFlight(max_followers=100)
    leader, _ = start(threads, flights, shard, followers=0)
    with pytest.raises(WaitedTooLong):
        run(flights, shard, seconds=0.01)
    assert flights.follower_count == 0
    shard.release.set()
    assert leader.result() == FlightOutcome(1, is_shared=False)


@pytest.mark.parametrize("error", [BadStatement("wrong", instance="a"), PoolExhausted("busy", instance="a")])
def test_an_error_about_the_question_or_the_server_is_everybodys(shard, threads, error):
    flights = SingleFlight(max_followers=100)
    leader, followers = start(threads, flights, shard, followers=5)
    shard.errors = [error]
    shard.release.set()
    assert [f.exception() for f in [leader, *followers]] == [error] * 6
    assert shard.count == 1


@pytest.mark.parametrize("error", [DeadlineExceeded("late", instance="a"), SystemExit(), ValueError("a bug")])
def test_what_ends_the_leader_alone_makes_one_follower_lead(shard, threads, error):
    flights = SingleFlight(max_followers=100)
    leader, followers = start(threads, flights, shard, followers=20)
    shard.errors = [error]
    shard.release.set()
    assert leader.exception() is error
    outcomes = [f.result() for f in followers]
    assert {outcome.answer for outcome in outcomes} <= set(range(1, shard.count))
    assert sum(not outcome.is_shared for outcome in outcomes) == shard.count - 1


def test_an_answer_that_is_not_new_enough_makes_the_follower_ask_for_itself(shard, threads):
    flights = SingleFlight(max_followers=100)
    leader, followers = start(threads, flights, shard, followers=1, accepts=lambda answer: answer >= 2)
    shard.release.set()
    assert leader.result() == FlightOutcome(1, is_shared=False)
    assert followers[0].result() == FlightOutcome(2, is_shared=False)


def test_an_answer_that_is_new_enough_is_taken(shard, threads):
    flights = SingleFlight(max_followers=100)
    leader, followers = start(threads, flights, shard, followers=1, accepts=lambda answer: answer >= 1)
    shard.release.set()
    assert (leader.result().answer, followers[0].result()) == (1, FlightOutcome(1, is_shared=True))


def test_nobody_waits_for_a_caller_that_may_not_lead(shard, threads):
    flights = SingleFlight(max_followers=100)
    demanding = threads.submit(run, flights, shard, may_lead=False)
    assert shard.asked.acquire(timeout=PATIENCE_SECONDS)
    plain = threads.submit(run, flights, shard)
    assert shard.asked.acquire(timeout=PATIENCE_SECONDS)
    shard.release.set()
    assert {demanding.result().is_shared, plain.result().is_shared} == {False}
    assert shard.count == 2


@pytest.mark.parametrize(
    ("error", "is_shared"),
    [
        (StatementTimeout("slow", instance="a"), True),
        (DeadlineExceeded("late", instance="a"), False),
        (WaitedTooLong(), False),
        (KeyError("bug"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_which_errors_every_caller_would_get(error, is_shared):
    assert is_everybodys_error(error) is is_shared


class TestAsyncSingleFlight:
    """The form for callers on an event loop."""

    @pytest.fixture
    def run_script(self):
        def run_script(script, **limits):
            async def play():
                flights = AsyncSingleFlight(
                    "flights", **{"max_threads": 4, "max_flights": 4, "timeout_seconds": PATIENCE_SECONDS, **limits}
                )
                try:
                    return await script(flights)
                finally:
                    flights.close()

            return asyncio.run(play())

        return run_script

    def test_callers_at_once_share_one_call_and_the_next_one_is_new(self, run_script, shard):
        async def script(flights):
            callers = [asyncio.create_task(flights.run("key", shard.ask)) for _ in range(10)]
            await wait_until_async(lambda: shard.count)
            shard.release.set()
            return await asyncio.gather(*callers), await flights.run("key", shard.ask)

        assert run_script(script) == ([1] * 10, 2)

    def test_different_keys_run_beside_each_other_up_to_the_bound(self, run_script, shard):
        async def script(flights):
            callers = [asyncio.create_task(flights.run(key, shard.ask)) for key in "ab"]
            await wait_until_async(lambda: shard.count == 2)
            with pytest.raises(TooManyFlights):
                await flights.run("c", shard.ask)
            shard.release.set()
            return await asyncio.gather(*callers)

        assert sorted(run_script(script, max_flights=2)) == [1, 2]
        assert shard.count == 2

    def test_calls_that_wait_for_a_thread_are_counted(self, run_script, shard):
        async def script(flights):
            callers = [asyncio.create_task(flights.run(key, shard.ask)) for key in "abc"]
            await wait_until_async(lambda: shard.count == 1 and flights.waiting_count == 2)
            shard.release.set()
            await asyncio.gather(*callers)
            return flights.waiting_count

        assert run_script(script, max_threads=1) == 0

    def test_an_error_reaches_everybody(self, run_script, shard):
        shard.errors = [BadStatement("no", instance="a")]

        async def script(flights):
            callers = [asyncio.create_task(flights.run("key", shard.ask)) for _ in range(3)]
            await wait_until_async(lambda: shard.count)
            shard.release.set()
            return await asyncio.gather(*callers, return_exceptions=True)

        assert [type(error) for error in run_script(script)] == [BadStatement] * 3
        assert shard.count == 1

    def test_a_caller_that_leaves_ends_nobody_elses_wait(self, run_script, shard):
        async def script(flights):
            leaving, staying = (asyncio.create_task(flights.run("key", shard.ask)) for _ in range(2))
            await wait_until_async(lambda: shard.count)
            leaving.cancel()
            shard.release.set()
            return await staying

        assert run_script(script) == 1

    def test_nobody_waits_past_the_deadline_of_the_call(self, run_script, shard):
        async def script(flights):
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    await flights.run("key", shard.ask)
            count = shard.count
            shard.release.set()
            return count

        assert run_script(script, timeout_seconds=0.01) == 1
