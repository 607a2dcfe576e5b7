"""Where people with a form may send the config service."""

from ipaddress import ip_address

import pytest

from configservice.settings import ConfigServiceSettings
from configservice.topology.allow_list import BadAllowList, parse_address, parse_allow_list

LIST = "10.0.0.0/8:5432, 192.0.2.7:6000-6010,[fd00::/8]:*"


@pytest.mark.parametrize(
    ("address", "port", "permitted"),
    [
        ("10.1.2.3", 5432, True),
        ("10.1.2.3", 5433, False),
        ("11.1.2.3", 5432, False),
        ("192.0.2.7", 6000, True),
        ("192.0.2.7", 6010, True),
        ("192.0.2.7", 6011, False),
        ("192.0.2.8", 6000, False),
        ("fd12::1", 1, True),
        ("fe80::1", 5432, False),
        ("::ffff:10.1.2.3", 5432, True),
        ("::ffff:11.1.2.3", 5432, False),
        ("0.0.0.0", 5432, False),  # noqa: S104
    ],
)
def test_an_address_is_permitted_only_with_a_port_of_its_network(address, port, permitted):
    assert parse_allow_list(LIST).permits(ip_address(address), port) is permitted


@pytest.mark.parametrize(
    "text",
    ["10.0.0.0/8", "10.0.0.1/8:5432", "10.0.0.0/8:0", "10.0.0.0/8:65536", "10.0.0.0/8:20-10", "db1:5432", "fd00::1:5"],
)
def test_an_entry_that_cannot_be_read_is_refused_at_boot(text):
    with pytest.raises(BadAllowList, match=r"is not NETWORK:PORTS|ports are|does not appear|has host bits"):
        parse_allow_list(text)


def test_an_empty_list_permits_nothing():
    assert not parse_allow_list("").permits(ip_address("127.0.0.1"), 5432)


def test_the_default_permits_nothing():
    assert ConfigServiceSettings().instance_allow_list == ""


def test_the_zone_of_an_address_is_no_part_of_it():
    assert parse_address("fe80::1%eth0") == ip_address("fe80::1")
