"""Hosts and passwords of the control database: what is refused, and what is tried first."""

from types import SimpleNamespace

import pytest

from viewcounter.controlplane.control_connection import LastAccepted, build_address_parameters
from viewcounter.controlplane.settings import check_hosts, check_ports, pair_addresses


def connect(**info):
    return SimpleNamespace(info=SimpleNamespace(port=5432, **info))


def test_one_port_serves_all_hosts():
    assert pair_addresses("a,b", "5432") == [("a", "5432"), ("b", "5432")]
    assert pair_addresses("a,b", "1,2") == [("a", "1"), ("b", "2")]


@pytest.mark.parametrize("ports", ["1,2", "1,2,3,4"])
def test_ports_that_do_not_fit_the_hosts_are_refused(ports):
    with pytest.raises(ValueError, match=r"ports for 3 hosts: give one port, or one for each host"):
        pair_addresses("a,b,c", ports)


def test_spaces_around_hosts_and_ports_do_not_matter():
    assert (check_hosts(" a , b"), check_ports("1, 2 ")) == ("a,b", "1,2")


@pytest.mark.parametrize("hosts", ["a,,b", "a,", " "])
def test_an_empty_host_is_refused(hosts):
    with pytest.raises(ValueError, match="empty"):
        check_hosts(hosts)


@pytest.mark.parametrize("port", ["", "0", "65536", "-1", "x", "1,", "٣"])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(ValueError, match="is no port"):
        check_ports(port)


def test_the_host_that_answered_last_is_tried_first():
    accepted = LastAccepted()
    addresses = pair_addresses("a,b,c", "5432")
    assert build_address_parameters(addresses, accepted)["host"] == "a,b,c"
    accepted.remember(connect(host="c", password="secret"))
    assert build_address_parameters(addresses, accepted) == {
        "host": "c,a,b",
        "port": "5432,5432,5432",
        "target_session_attrs": "read-write",
    }


def test_a_single_host_may_be_read_only():
    """Reads go on while a control database takes no writes, for lack of disk for one."""
    assert build_address_parameters(pair_addresses("a", "5432"), LastAccepted()) == {"host": "a", "port": "5432"}


def test_the_password_that_was_accepted_last_is_tried_first():
    accepted = LastAccepted()
    assert accepted.order_passwords("old\nnew\n") == "old\nnew"
    accepted.remember(connect(host="a", password="new"))
    assert accepted.order_passwords("old\nnew\n") == "new\nold"
    assert accepted.order_passwords("another") == "another"
