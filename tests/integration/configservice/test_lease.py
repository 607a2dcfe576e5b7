"""One config service leads, whichever process dies or freezes; a former leader changes nothing."""

import time

import pytest
from django.db import connections, transaction

from configservice.errors import LeaseLost
from configservice.failover.lease import Lease, fence_change
from configservice.models import Leadership
from shardproxy.connection import open_dedicated_connection
from tests.pace import limit
from tests.waiting import wait_until
from viewcounter.controlplane.config_service import format_holder

LEASE_SECONDS = limit(0.4)
CALL_SECONDS = 1.0


@pytest.fixture
def open_lease(control):
    """A lease under a name of its own, given up at the end of the test."""
    leases = []
    Leadership.objects.all().delete()
    database = connections["default"].settings_dict

    def connect(session_name):
        return open_dedicated_connection(
            host=database["HOST"],
            port=database["PORT"],
            dbname=database["NAME"],
            user=database["USER"],
            password=database["PASSWORD"],
            application_name=session_name,
            options=f"-c statement_timeout={CALL_SECONDS * 1000:.0f}",
        )

    def open_one(name):
        leases.append(Lease(connect, holder=name, lease_seconds=LEASE_SECONDS, call_seconds=CALL_SECONDS))
        return leases[-1]

    yield open_one
    for lease in leases:
        lease.release()


def test_one_of_two_leads_and_keeps_leading(open_lease):
    first, second = open_lease(format_holder("host1", 7)), open_lease(format_holder("host2", 9))
    assert [first.hold(), second.hold(), first.hold(), second.hold()] == [True, False, True, False]
    assert first.check() == first.leader_generation == 1
    with pytest.raises(LeaseLost, match="does not lead"):
        second.check()


def test_a_leader_that_stops_is_followed_at_once_under_a_higher_generation(open_lease):
    first, second = open_lease(format_holder("host1", 7)), open_lease(format_holder("host2", 9))
    assert first.hold()
    first.release()
    wait_until(second.hold)
    assert second.leader_generation == 2


def test_a_leader_whose_connection_is_cut_is_followed_and_knows_it(open_lease):
    first, second = open_lease(format_holder("host1", 7)), open_lease(format_holder("host2", 9))
    assert first.hold()
    end_sessions(first.holder)
    wait_until(second.hold)
    with pytest.raises(LeaseLost, match="does not answer"):
        first.check()
    assert not first.hold()


def test_a_leader_that_goes_silent_is_put_out_and_changes_nothing_when_it_wakes(open_lease):
    first, second = open_lease(format_holder("host1", 7)), open_lease(format_holder("host2", 9))
    assert first.hold()
    assert not second.hold()
    time.sleep(LEASE_SECONDS)  # the silence itself is what is tested
    wait_until(second.hold)
    with pytest.raises(LeaseLost):
        first.check()
    with pytest.raises(LeaseLost, match="leader generation 1 no longer leads"), transaction.atomic():
        fence_change(1)
    with transaction.atomic():
        fence_change(2)


def test_a_frozen_leader_is_put_out_by_a_pod_of_the_same_host_name_and_process_id(open_lease):
    first, second = (open_lease(format_holder("viewcounter-configservice-6d5f7c9b8-x2x7q", 1)) for _ in range(2))
    assert first.hold()
    time.sleep(LEASE_SECONDS)  # the silence itself is what is tested
    wait_until(second.hold)
    with pytest.raises(LeaseLost):
        first.check()


def test_a_leader_that_renews_is_never_put_out(open_lease):
    first, second = open_lease(format_holder("host1", 7)), open_lease(format_holder("host2", 9))
    ends_at = time.monotonic() + 3 * LEASE_SECONDS
    while time.monotonic() < ends_at:
        assert first.hold()
        assert not second.hold()


def test_a_new_leader_waits_for_the_change_that_the_old_one_is_committing(open_lease):
    first, second = open_lease(format_holder("host1", 7)), open_lease(format_holder("host2", 9))
    assert first.hold()
    with transaction.atomic():
        fence_change(1)
        end_sessions(first.holder)
        assert not second.hold(), "the row is locked until the change is whole"
    wait_until(second.hold)
    assert second.leader_generation > 1  # more than 2 when the server has ended the statement given up above after all


def test_nobody_leads_without_control_database(control):
    def refuse(session_name):
        return open_dedicated_connection(host="127.0.0.1", port=1, dbname="nowhere", application_name=session_name)

    lease = Lease(refuse, holder="configservice test-nobody 1", lease_seconds=1.0, call_seconds=1.0)
    assert not lease.hold()
    with pytest.raises(LeaseLost):
        lease.check()


def end_sessions(name):
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", [name])
