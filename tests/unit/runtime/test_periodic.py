import threading

import pytest

from runtime.periodic import PeriodicTask
from tests.waiting import limit

FAR = 3600.0
"""Seconds that no test waits."""


class Steps:
    """A step that can be waited for. `answers`: what it returns or raises, in order; None from then on."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.count = 0
        self.threads = set()
        self._done = threading.Semaphore(0)

    def __call__(self):
        self.count += 1
        self.threads.add(threading.current_thread())
        answer = self.answers.pop(0) if self.answers else None
        self._done.release()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait(self, times=1):
        for _ in range(times):
            assert self._done.acquire(timeout=limit(10))


@pytest.fixture
def make_task():
    tasks = []

    def make(step, **settings):
        task = PeriodicTask("at-work", step, **{"interval_seconds": FAR, **settings})
        tasks.append(task)
        return task

    yield make
    for task in tasks:
        task.stop(timeout_seconds=limit(10))


def test_a_task_runs_at_once_and_then_at_its_interval(make_task):
    steps = Steps()
    make_task(steps, interval_seconds=0.001).start()
    steps.wait(times=3)
    (thread,) = steps.threads
    assert (thread.name, thread.daemon) == ("at-work", True)


def test_a_step_says_when_the_next_one_is_due(make_task):
    steps = Steps(0.0, 0.001, FAR)
    make_task(steps).start()
    steps.wait(times=3)
    assert steps.count == 3


def test_a_task_waits_before_its_first_step_if_told_so(make_task):
    steps = Steps()
    task = make_task(steps, first_after_seconds=FAR)
    task.start()
    assert steps.count == 0
    task.wake()
    steps.wait()


def test_a_task_without_an_interval_runs_only_when_woken(make_task):
    steps = Steps()
    task = make_task(steps, interval_seconds=None, first_after_seconds=None)
    task.start()
    for count in (1, 2):
        task.wake()
        steps.wait()
        assert steps.count == count


def test_a_wake_up_during_a_step_runs_another_one(make_task):
    began, may_end = threading.Event(), threading.Event()
    steps = Steps()

    def step():
        began.set()
        assert may_end.wait(limit(10))
        steps()

    task = make_task(step)
    task.start()
    assert began.wait(limit(10))
    task.wake()
    may_end.set()
    steps.wait(times=2)


def test_a_task_survives_what_a_step_raises_and_logs_it(make_task, caplog):
    steps = Steps(ValueError("one"), ValueError("two"))
    make_task(steps, interval_seconds=0.001).start()
    steps.wait(times=3)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["the background task at-work failed, it runs again in 0.0 s"] * 2
    assert [str(record.exc_info[1]) for record in caplog.records] == ["one", "two"]


def test_a_task_is_started_once(make_task):
    steps = Steps()
    task = make_task(steps)
    for _ in range(3):
        task.start()
    steps.wait()
    task.stop(timeout_seconds=limit(10))
    task.start()
    assert (steps.count, len(steps.threads)) == (1, 1)


def test_a_task_that_was_stopped_first_never_starts(make_task):
    steps = Steps()
    task = make_task(steps)
    task.stop(timeout_seconds=FAR)
    task.start()
    assert (steps.count, task.is_stopping) == (0, True)


def test_stop_ends_the_wait_and_runs_the_end_in_the_thread(make_task):
    steps, ends = Steps(), []
    task = make_task(steps, on_end=lambda: ends.append(threading.current_thread()))
    task.start()
    steps.wait()
    assert not ends
    task.stop(timeout_seconds=FAR)
    assert set(ends) == steps.threads
    assert not ends[0].is_alive()


def test_a_step_may_stop_its_own_task(make_task):
    ended = threading.Event()

    def step():
        task.stop()

    task = make_task(step, interval_seconds=0.0, on_end=ended.set)
    task.start()
    assert ended.wait(limit(10))


def test_a_pause_of_a_step_ends_with_the_task_and_not_with_a_wake_up(make_task):
    began, ended = threading.Event(), threading.Event()

    def step():
        began.set()
        task.pause(FAR)
        ended.set()

    task = make_task(step)
    task.start()
    assert began.wait(limit(10))
    task.wake()
    assert not ended.is_set()
    task.stop(timeout_seconds=FAR)
    assert ended.is_set()
