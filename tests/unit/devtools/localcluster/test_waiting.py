"""Steps that run in parallel: what is raised when some of them fail."""

import threading
from functools import partial

import pytest

from devtools.localcluster.errors import NotReady, StopRequested
from devtools.localcluster.waiting import Waiter


def test_a_failure_in_a_nested_group_is_raised_not_the_wait_that_it_ended():
    waiter = Waiter()
    follower_gave_up = threading.Event()

    def fail() -> None:
        raise NotReady("the server does not start")

    def follow() -> None:
        try:
            waiter.wait_until(lambda: "not yet", what="the other server", within_seconds=60)
        finally:
            follower_gave_up.set()

    def fail_after_the_follower() -> None:
        try:
            waiter.run_all([fail, partial(waiter.wait_until, lambda: "not yet", what="a third", within_seconds=60)])
        finally:
            assert follower_gave_up.wait(timeout=60)

    with pytest.raises(NotReady, match="does not start"):
        waiter.run_all([fail_after_the_follower, follow])


def test_a_start_that_was_cancelled_says_so():
    waiter = Waiter()
    waiter.stop()
    with pytest.raises(StopRequested):
        waiter.run_all([partial(waiter.wait_until, lambda: "not yet", what="a server", within_seconds=60)])
