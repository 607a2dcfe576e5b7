"""Who gets a connection, who waits, who is sent away. Threads wait for events, never for time, except for deadlines."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.admission import (
    BY_PRIORITY,
    Admission,
    AdmissionPolicy,
    Shed,
    get_max_wait_seconds,
    has_room,
    is_overloaded,
    must_shed_waiting,
)
from shardproxy.query import QueryClass
from tests.clock import Clock
from tests.waiting import wait_until

FLUSH, POINT, RANGE = QueryClass.FLUSH, QueryClass.POINT, QueryClass.RANGE
MAINTENANCE, REPORT = QueryClass.MAINTENANCE, QueryClass.REPORT
POLICY = AdmissionPolicy(
    capacity=8, flush_reserved=1, report_capacity=3, max_waiting=64, wait_seconds=1.0, target_wait_seconds=0.2
)


def in_use(**counts):
    return {query_class: counts.get(query_class.value, 0) for query_class in QueryClass}


@pytest.mark.parametrize(
    ("used", "roomy"),
    [
        (in_use(), {FLUSH, POINT, RANGE, MAINTENANCE, REPORT}),
        (in_use(report=3), {FLUSH, POINT, RANGE, MAINTENANCE}),
        (in_use(report=3, point=3), {FLUSH, POINT, RANGE, MAINTENANCE}),
        (in_use(report=3, point=4), {FLUSH}),
        (in_use(report=2, point=5), {FLUSH}),
        (in_use(flush=7), {FLUSH, POINT, RANGE, MAINTENANCE, REPORT}),
        (in_use(flush=8), set()),
        (in_use(flush=1, point=7), set()),
    ],
)
def test_a_share_is_kept_for_flushes_and_reports_have_no_more_than_theirs(used, roomy):
    assert {c for c in QueryClass if has_room(POLICY, used, c)} == roomy


def test_a_single_connection_serves_everybody():
    policy = AdmissionPolicy(1, 1, 3, max_waiting=0, wait_seconds=1.0, target_wait_seconds=0.2)
    assert all(has_room(policy, in_use(), query_class) for query_class in QueryClass)
    assert not any(has_room(policy, in_use(point=1), query_class) for query_class in QueryClass)


@pytest.mark.parametrize(
    ("waits", "overloaded", "giving_way"),
    [
        ({}, set(), set()),
        ({POINT: 0.2}, set(), set()),
        ({POINT: 0.21}, {REPORT}, {REPORT}),
        ({POINT: 0.41}, {REPORT, RANGE}, {REPORT, RANGE}),
        ({POINT: 0.81}, {REPORT, RANGE, POINT}, {REPORT, RANGE}),
        ({RANGE: 0.41}, {REPORT, RANGE}, {REPORT}),
        ({MAINTENANCE: 5.0}, {REPORT}, {REPORT}),
        ({FLUSH: 0.81}, {REPORT, RANGE, POINT}, {REPORT, RANGE, POINT}),
        ({FLUSH: 99.0}, {REPORT, RANGE, POINT}, {REPORT, RANGE, POINT}),
        # Reports wait for their own share: that is no sign of trouble.
        ({REPORT: 99.0}, set(), set()),
    ],
)
def test_reports_are_shed_first_then_ranges_then_points_and_flushes_never(waits, overloaded, giving_way):
    assert {c for c in QueryClass if is_overloaded(POLICY, waits, c)} == overloaded
    assert {c for c in QueryClass if must_shed_waiting(POLICY, waits, c)} == giving_way


@pytest.mark.parametrize(
    ("query_class", "seconds"), [(FLUSH, 1.0), (POINT, 0.8), (RANGE, 0.4), (MAINTENANCE, 1.0), (REPORT, 1.0)]
)
def test_nobody_waits_longer_than_it_would_take_to_be_shed(query_class, seconds):
    assert get_max_wait_seconds(POLICY, query_class) == pytest.approx(seconds)


@given(st.dictionaries(st.sampled_from(list(QueryClass)), st.floats(0, 10)))
def test_a_class_is_never_shed_before_one_that_matters_less(waits):
    for verdict in (is_overloaded, must_shed_waiting):
        shed = [verdict(POLICY, waits, c) for c in (FLUSH, POINT, RANGE, REPORT)]
        assert shed == sorted(shed)
        assert shed[0] is False


class Callers:
    """Threads that enter, hold their connection until released, and leave."""

    def __init__(self, admission):
        self.admission = admission
        self.entered = []
        self.shed = {}
        self._release = {}
        self._threads = []

    def start(self, name, query_class, *, waits=True, place_of=None, seconds=30.0):
        """Returns when the caller has entered, has been shed, or (`waits`) is in the queue."""
        before = self.admission.waiting
        self._release[name] = threading.Event()
        thread = threading.Thread(target=self._run, args=(name, query_class, time.monotonic() + seconds))
        self._threads.append(thread)
        thread.start()
        if place_of is not None:
            wait_until(lambda: place_of in self.shed)
        elif waits:
            wait_until(lambda: self.admission.waiting == before + 1)
        else:
            wait_until(lambda: name in self.entered or name in self.shed)

    def _run(self, name, query_class, deadline_at):
        try:
            self.admission.enter(query_class, deadline_at=deadline_at)
        except Shed as error:
            self.shed[name] = str(error)
            return
        self.entered.append(name)
        self._release[name].wait(30)
        self.admission.leave(query_class)

    def release(self, name):
        self._release[name].set()

    def end(self):
        for event in self._release.values():
            event.set()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def open_callers():
    opened = []

    def open_one(clock=time.monotonic, **changes):
        bounds = {"capacity": 1, "flush_reserved": 0, "report_capacity": 1, "max_waiting": 64}
        times = {"wait_seconds": 30.0, "target_wait_seconds": 30.0}
        opened.append(Callers(Admission(AdmissionPolicy(**bounds | times | changes), clock=clock)))
        return opened[-1]

    yield open_one
    for callers in opened:
        callers.end()
        assert (callers.admission.in_use, callers.admission.in_flight) == (0, 0)


def test_a_free_connection_goes_to_the_highest_class_and_there_to_the_first(open_callers):
    callers = open_callers()
    callers.start("holder", POINT, waits=False)
    for name, query_class in [("report", REPORT), ("range", RANGE), ("point1", POINT), ("point2", POINT)]:
        callers.start(name, query_class)
    callers.start("upkeep", MAINTENANCE)
    callers.start("flush", FLUSH)
    order = ["holder", "flush", "point1", "point2", "range", "upkeep", "report"]
    for number, name in enumerate(order[:-1], start=1):
        callers.release(name)
        wait_until(lambda number=number: len(callers.entered) == number + 1)
    assert callers.entered == order
    assert callers.shed == {}


def test_a_flood_of_reports_leaves_connections_for_everybody_else(open_callers):
    callers = open_callers(capacity=3, flush_reserved=1, report_capacity=1)
    callers.start("report1", REPORT, waits=False)
    for number in range(2, 30):
        callers.start(f"report{number}", REPORT)
    callers.start("point", POINT, waits=False)
    callers.start("flush", FLUSH, waits=False)
    assert callers.entered == ["report1", "point", "flush"]


def test_the_queue_is_bounded_and_gives_way_from_its_least_end(open_callers):
    callers = open_callers(max_waiting=2)
    callers.start("holder", POINT, waits=False)
    callers.start("report1", REPORT)
    callers.start("report2", REPORT)
    callers.start("report3", REPORT, waits=False)
    assert callers.shed == {"report3": "the queue for a connection is full"}
    callers.start("point", POINT, place_of="report2")
    assert callers.shed["report2"] == "shed: queries of higher priority wait for a connection"
    callers.start("range", RANGE, place_of="report1")
    callers.start("upkeep", MAINTENANCE, waits=False)
    assert callers.shed["upkeep"] == "the queue for a connection is full"


def test_a_caller_gives_up_at_its_own_deadline_and_leaves_no_trace(open_callers):
    callers = open_callers()
    callers.start("holder", POINT, waits=False)
    callers.start("late", POINT, waits=False, seconds=0.05)
    assert callers.shed == {"late": "no connection became free in time"}
    assert callers.admission.in_flight == 1


def test_waiting_reports_are_sent_away_when_points_wait_too_long(open_callers):
    clock = Clock()
    callers = open_callers(clock=clock)
    callers.start("holder", POINT, waits=False)
    callers.start("report", REPORT)
    callers.start("point", POINT)
    clock.advance(31.0)
    callers.start("another", REPORT, waits=False)
    assert callers.shed["another"] == "too many queries wait for a connection"
    wait_until(lambda: "report" in callers.shed)
    assert callers.shed["report"] == "shed: queries of higher priority wait for a connection"
    callers.release("holder")
    wait_until(lambda: "point" in callers.entered)


def test_many_callers_never_have_more_than_there_is_and_none_is_forgotten():
    policy = AdmissionPolicy(4, 1, 2, max_waiting=1000, wait_seconds=60.0, target_wait_seconds=60.0)
    admission = Admission(policy)
    lock = threading.Lock()
    now, most = dict.fromkeys(QueryClass, 0), dict.fromkeys(QueryClass, 0)
    most_reads = 0

    def call(query_class):
        nonlocal most_reads
        for _ in range(50):
            admission.enter(query_class, deadline_at=time.monotonic() + 60)
            with lock:
                now[query_class] += 1
                most[query_class] = max(most[query_class], now[query_class])
                most_reads = max(most_reads, sum(now.values()) - now[FLUSH])
                assert sum(now.values()) <= 4
            time.sleep(0)
            with lock:
                now[query_class] -= 1
            admission.leave(query_class)

    threads = [threading.Thread(target=call, args=(query_class,)) for query_class in BY_PRIORITY * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert most[REPORT] <= 2
    assert most_reads <= 3
    assert admission.in_flight == 0
