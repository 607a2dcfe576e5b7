"""Allow list of the addresses that new instances may have. Pure.

Without it, a user who may add instances could make our processes connect to any host and port that they reach.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from runtime.errors import Permanent

ANY_PORT = "*"
PORT_MAX = 65535
_ENTRY = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<four>[^:\[\]]+)):(?P<ports>[^:]+)")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")

Address = IPv4Address | IPv6Address


class BadAllowList(ValueError, Permanent):
    """An entry is not `NETWORK:PORTS`, such as 10.0.0.0/8:5432, 127.0.0.1:* or [fd00::/8]:5432-5440."""


@dataclass(frozen=True, slots=True)
class AllowedRange:
    network: IPv4Network | IPv6Network
    first_port: int
    last_port: int


@dataclass(frozen=True, slots=True)
class AllowList:
    ranges: tuple[AllowedRange, ...]

    def permits(self, address: Address, port: int) -> bool:
        """An IPv4-mapped IPv6 address counts as its IPv4 address."""
        plain = getattr(address, "ipv4_mapped", None) or address
        return any(
            plain.version == allowed.network.version
            and plain in allowed.network
            and allowed.first_port <= port <= allowed.last_port
            for allowed in self.ranges
        )


def parse_allow_list(text: str) -> AllowList:
    """`NETWORK:PORTS` separated by commas; ports are a number, a range or `*`. Raises BadAllowList."""
    return AllowList(tuple(_parse_entry(entry.strip()) for entry in text.split(",") if entry.strip()))


def check_allow_list(text: str) -> str:
    """Returns the text; a validator for settings. Raises BadAllowList."""
    parse_allow_list(text)
    return text


def parse_address(text: str) -> Address:
    """As `getaddrinfo` gives it, perhaps with a zone (`fe80::1%eth0`). Raises ValueError."""
    return ip_address(text.partition("%")[0])


def _parse_entry(entry: str) -> AllowedRange:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise BadAllowList(f"{entry!r} is not NETWORK:PORTS, such as 10.0.0.0/8:5432 or [fd00::/8]:5432")
    try:
        network = ip_network(match["six"] or match["four"])
    except ValueError as error:
        raise BadAllowList(f"{entry!r}: {error}") from error
    first, last = _parse_ports(match["ports"], entry)
    return AllowedRange(network, first, last)


def _parse_ports(text: str, entry: str) -> tuple[int, int]:
    if text == ANY_PORT:
        return 1, PORT_MAX
    match = _PORTS.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= PORT_MAX:
        raise BadAllowList(f"{entry!r}: ports are a number, a range such as 5432-5440, or *")
    return first, last
