import logging

import pytest

from runtime.transitions import OutageLog
from tests.clock import Clock

logger = logging.getLogger("at-work")


@pytest.fixture
def outage():
    return OutageLog(logger, failed="the pump stands still", recovered="the pump runs again")


def test_an_outage_has_one_line_at_its_begin_and_one_at_its_end(outage, caplog):
    outage.report_success()
    for text in ("no water", "no current"):
        outage.report_failure(ValueError(text))
    assert outage.failures == 2
    outage.report_success()
    outage.report_success()
    assert outage.failures == 0
    assert [(r.name, r.levelno, r.getMessage(), r.exc_info) for r in caplog.records] == [
        ("at-work", logging.WARNING, "the pump stands still: no water", None),
        ("at-work", logging.WARNING, "the pump runs again (failed attempts: 2)", None),
    ]


def test_the_next_outage_is_logged_again(outage, caplog):
    for _ in range(2):
        outage.report_failure("no water")
        outage.report_success()
    assert len(caplog.records) == 4


def test_an_outage_that_is_an_error_carries_the_traceback(caplog):
    outage = OutageLog(logger, failed="failed", recovered="recovered", level=logging.ERROR)
    outage.report_failure(error := ValueError("no water"))
    outage.report_success()
    outage.report_failure("said by hand")
    assert [r.levelno for r in caplog.records] == [logging.ERROR, logging.WARNING, logging.ERROR]
    assert [r.exc_info and r.exc_info[1] for r in caplog.records] == [error, None, None]


def test_things_that_fail_together_have_one_outage_until_none_fails_for_a_while(caplog):
    clock = Clock()
    outage = OutageLog(logger, failed="a pump stands still", recovered="all pumps run", quiet_seconds=60.0, clock=clock)
    for _ in range(3):  # every half minute one of two pumps fails
        outage.report_failure("no water")
        outage.report_success()
        clock.advance(30.0)
    clock.advance(29.0)
    outage.report_success()
    assert len(caplog.records) == 1
    clock.advance(1.0)
    outage.report_success()
    assert [r.getMessage() for r in caplog.records] == [
        "a pump stands still: no water",
        "all pumps run (failed attempts: 3)",
    ]
