"""A process takes from its own buckets and evens them out with the others'."""

import pytest

from viewcounter.apikeys.rate_limit import FORGOTTEN_AFTER_SECONDS, RateLimiter, Unit, make_bucket
from viewcounter.apikeys.scopes import AuthenticatedKey
from viewcounter.apikeys.shared_buckets import BucketsUnavailable

KEY = AuthenticatedKey("a" * 12, "app", frozenset(), None, requests_per_second=1, events_per_second=100)
FREE = AuthenticatedKey("b" * 12, "app", frozenset())
BURST_SECONDS = 1000.0


class CommonBuckets:
    """As the cache server: one bucket a name, for everybody. Its clock stands still."""

    def __init__(self):
        self.buckets = {}
        self.is_away = False

    def take(self, takes):
        if self.is_away:
            raise BucketsUnavailable("away")
        left = []
        for take in takes:
            bucket = self.buckets.setdefault(
                take.name, make_bucket(take.per_second, burst_seconds=BURST_SECONDS, now=0.0)
            )
            bucket.tokens -= take.taken
            left.append(bucket.tokens)
        return left


@pytest.fixture
def common():
    return CommonBuckets()


class StandingClock:
    """Moves only when it is told to, so that nothing is refilled meanwhile."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return StandingClock()


@pytest.fixture
def limiters(common, clock):
    limiters = [RateLimiter(common, burst_seconds=BURST_SECONDS, sync_seconds=3600.0, clock=clock) for _ in range(2)]
    yield limiters
    for limiter in limiters:
        limiter.close()


def take(limiter, count, key=KEY, unit=Unit.REQUESTS):
    return [limiter.take(key, unit, 1).is_allowed for _ in range(count)]


def test_a_key_without_a_limit_is_never_looked_at(limiters, common):
    assert limiters[0].take(FREE, Unit.REQUESTS, 10**9) is None
    limiters[0].sync()
    assert common.buckets == {}


def test_two_processes_share_one_limit(limiters):
    first, second = limiters
    assert all(take(first, 600))
    assert all(take(second, 300))
    first.sync()
    second.sync()
    first.sync()
    assert take(first, 101) == [True] * 100 + [False]


def test_what_is_taken_while_the_others_are_asked_is_told_the_next_time(limiters, common):
    limiter = limiters[0]

    class Slow:
        def take(self, takes):
            take_more()
            return common.take(takes)

    def take_more():
        assert all(take(limiter, 5))

    take(limiter, 10)
    limiter.shared = Slow()
    limiter.sync()
    assert common.buckets[f"{KEY.prefix}:requests"].tokens == 990
    limiter.shared = common
    limiter.sync()
    assert common.buckets[f"{KEY.prefix}:requests"].tokens == 985


def test_while_the_others_cannot_be_asked_each_process_limits_by_itself(limiters, common):
    common.is_away = True
    for limiter in limiters:
        assert take(limiter, 1001) == [True] * 1000 + [False]
        limiter.sync()
    common.is_away = False
    for limiter in limiters:
        limiter.sync()
    assert common.buckets[f"{KEY.prefix}:requests"].tokens == -1000
    assert take(limiters[1], 1) == [False]


def test_a_bucket_is_refilled_as_time_passes(limiters, clock):
    limiter = limiters[0]
    assert take(limiter, 1001)[-1] is False
    clock.now += 2.0
    assert take(limiter, 3) == [True, True, False]


def test_a_key_that_is_not_used_for_a_minute_is_forgotten(limiters, common, clock):
    take(limiters[0], 10)
    clock.now += FORGOTTEN_AFTER_SECONDS
    limiters[0].sync()
    assert common.buckets.keys() == {f"{KEY.prefix}:requests"}
    common.buckets.clear()
    clock.now += 0.001
    limiters[0].sync()
    assert common.buckets == {}


def test_requests_and_events_have_limits_of_their_own(limiters):
    limiter = limiters[0]
    assert take(limiter, 1001)[-1] is False
    allowance = limiter.take(KEY, Unit.EVENTS, 40_000)
    assert (allowance.is_allowed, allowance.limit, allowance.remaining) == (True, 100_000, 60_000)


def test_a_limit_that_an_operator_changes_holds_from_then_on(limiters):
    limiter = limiters[0]
    take(limiter, 1001)
    raised = AuthenticatedKey(KEY.prefix, KEY.name, KEY.scopes, None, requests_per_second=2)
    assert limiter.take(raised, Unit.REQUESTS, 1).is_allowed


def test_the_headers_say_what_is_left_and_when_to_come_back(limiters):
    limiter = limiters[0]
    assert limiter.take(KEY, Unit.REQUESTS, 1).headers == {
        "X-RateLimit-Limit": "1000",
        "X-RateLimit-Remaining": "999",
        "X-RateLimit-Reset": "1",
        "X-RateLimit-Unit": "requests",
    }
    limiter.take(KEY, Unit.REQUESTS, 1008)
    refused = limiter.take(KEY, Unit.REQUESTS, 1)
    assert refused.headers["Retry-After"] == "10"
    assert refused.headers["X-RateLimit-Remaining"] == "0"
