"""Settings of the control database."""

from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr

from runtime.settings import section, setting
from shardproxy.conninfo import LOST_PEER_PARAMETERS
from shardproxy.tls import TlsFiles, build_tls_parameters


def check_hosts(text: str) -> str:
    """Returns the text without space. Raises ValueError for an empty entry."""
    hosts = [part.strip() for part in text.split(",")]
    if not all(hosts):
        raise ValueError("a host between commas is empty")
    return ",".join(hosts)


def check_ports(text: str) -> str:
    """Returns the text without space. Raises ValueError for what is no port."""
    ports = [part.strip() for part in text.split(",")]
    for port in ports:
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"{port!r} is no port: a number from 1 to 65535 is")
    return ",".join(ports)


def pair_addresses(hosts: str, ports: str) -> list[tuple[str, str]]:
    """Each host with its port. Raises ValueError if there are neither as many ports as hosts nor one."""
    host_list, port_list = hosts.split(","), ports.split(",")
    if len(port_list) not in (1, len(host_list)):
        raise ValueError(f"{len(port_list)} ports for {len(host_list)} hosts: give one port, or one for each host")
    return list(zip(host_list, port_list * len(host_list) if len(port_list) == 1 else port_list, strict=True))


@dataclass(frozen=True, slots=True)
class ControlDatabaseSettings:
    """Control database."""

    host: str = setting(
        "127.0.0.1",
        "Host name or address of the control database, or several, separated by commas: of them the one that takes"
        " writes is used, and found anew after a failover.",
        parse=check_hosts,
    )
    port: str = setting(
        "5432", "Port of the control database: one, or one for each host, separated by commas.", parse=check_ports
    )
    name: str = setting("viewcounter_control", "Name of the control database.")
    user: str = setting("viewcounter", "Role by which processes connect to the control database.")
    password: SecretStr = setting(
        SecretStr(""),
        "Password of the role on the control database; in a file of the secrets directory also two, one a line,"
        " while it is changed, and read anew for each connection.",
        is_reread=True,
    )
    sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = setting(
        "prefer", "libpq's sslmode of connections to the control database; prefer is accepted on loopback only."
    )
    tls: TlsFiles = section(TlsFiles)
    query_seconds: float = setting(10.0, "Maximum duration of a statement on the control database.")
    silence_seconds: float = setting(
        2.0,
        "Time beyond the limit of a statement after which a control database that has not answered is given up, and its"
        " connection is closed.",
    )
    idle_seconds: float = setting(
        10.0,
        "Time for which a process may be idle in a transaction on the control database; then the database ends it, so"
        " that a frozen process does not block failovers and other changes of the topology.",
    )

    def build_link_parameters(self, *, connect_seconds: int) -> dict[str, str | int]:
        """libpq's parameters for TLS and for a peer that is gone. Raises InsecureConnection."""
        return {
            **build_tls_parameters(host=self.host, sslmode=self.sslmode, files=self.tls),
            "connect_timeout": connect_seconds,
            **LOST_PEER_PARAMETERS,
        }

    def list_addresses(self) -> list[tuple[str, str]]:
        """Raises ValueError as `pair_addresses`."""
        return pair_addresses(self.host, self.port)
