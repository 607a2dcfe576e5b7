"""Log lines and counts of tasks that fail: each failure is counted, an outage has one line at either end."""

import pytest

from clusterproxy.errors import NoTopology
from runtime.metrics import REGISTRY
from tests.clock import Clock
from viewcounter.processing import task_outages
from viewcounter.processing.task_outages import QUIET_SECONDS, postponed

TASK = "a-task-of-this-test"


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(task_outages, "OutageLog", make_outage_log(clock))
    return clock


def make_outage_log(clock):
    real = task_outages.OutageLog
    return lambda *arguments, **options: real(*arguments, **options, clock=clock)


def run(partition, *, fails):
    with postponed(TASK, f"partition {partition} waits"):
        if fails:
            raise NoTopology("there is none")


def test_failures_of_one_kind_of_task_have_one_line_beside_those_that_succeed(clock, caplog):
    before = REGISTRY.get_sample_value("viewcounter_task_failures_total", {"task": TASK}) or 0
    for _ in range(3):
        for partition in range(4):
            run(partition, fails=partition % 2 == 0)
        clock.advance(QUIET_SECONDS / 2)
    assert REGISTRY.get_sample_value("viewcounter_task_failures_total", {"task": TASK}) == before + 6
    clock.advance(QUIET_SECONDS)
    for partition in range(4):
        run(partition, fails=False)
    assert [record.getMessage() for record in caplog.records] == [
        f"task {TASK} fails and is repeated: partition 0 waits: there is none",
        f"task {TASK} succeeds again (failed attempts: 6)",
    ]


def test_an_error_that_no_dependency_explains_is_raised(clock):
    with pytest.raises(ZeroDivisionError), postponed(TASK, "it waits"):
        raise ZeroDivisionError
