"""Connections to the control database: several hosts, of which one takes writes, and passwords that change.

All processes make theirs here: Django through its database backend beside this module, leases and listeners through
`shardproxy.connection`. None of them outlives its server unnoticed: libpq connects only to the host that takes writes,
and a server that does not answer is given up (`silence_seconds`).
"""

import threading
from collections.abc import Iterable, Sequence

from shardproxy.connection import DeadlineConnection
from shardproxy.passwords import list_passwords
from viewcounter.controlplane.settings import ControlDatabaseSettings

Address = tuple[str, str]


class LastAccepted:
    """What the last connection of this process was made with. Thread-safe.

    A host that died, or froze, would otherwise cost every connection its time-out before the next host is tried, for as
    long as it stands first in the list.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._address: Address | None = None
        self._password: str | None = None

    def remember(self, connection: DeadlineConnection) -> None:
        """An open one."""
        info = connection.info
        with self._lock:
            self._address, self._password = (info.host, str(info.port)), info.password

    def order_addresses(self, addresses: Iterable[Address]) -> list[Address]:
        """The same addresses, the last accepted one first."""
        return sorted(addresses, key=lambda address: address != self._address)

    def order_passwords(self, passwords: str) -> str:
        """The same passwords, a line each, the last accepted one first."""
        return "\n".join(sorted(list_passwords(passwords), key=lambda password: password != self._password))


last_accepted = LastAccepted()
"""Of the control database."""


def build_address_parameters(addresses: Sequence[Address], accepted: LastAccepted = last_accepted) -> dict[str, str]:
    """libpq's host and port. Of several hosts only the one that takes writes will do."""
    hosts, ports = zip(*accepted.order_addresses(addresses), strict=True)
    parameters = {"host": ",".join(hosts), "port": ",".join(ports)}
    return parameters if len(addresses) == 1 else {**parameters, "target_session_attrs": "read-write"}


def build_control_parameters(settings: ControlDatabaseSettings, *, connect_seconds: int) -> dict[str, str | int]:
    """libpq parameters but the password. Raises InsecureConnection, ValueError as `list_addresses`."""
    return {
        **build_address_parameters(settings.list_addresses()),
        "dbname": settings.name,
        "user": settings.user,
        **settings.build_link_parameters(connect_seconds=connect_seconds),
    }
