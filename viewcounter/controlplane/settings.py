"""Settings of the control database."""

from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr

from runtime.settings import section, setting
from shardproxy.tls import TlsFiles


@dataclass(frozen=True, slots=True)
class ControlDatabaseSettings:
    """Control database."""

    host: str = setting("127.0.0.1", "Host name or address of the control database.")
    port: int = setting(5432, "Port of the control database.")
    name: str = setting("viewcounter_control", "Name of the control database.")
    user: str = setting("viewcounter", "Role by which processes connect to the control database.")
    password: SecretStr = setting(SecretStr(""), "Password of the role on the control database.")
    sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = setting(
        "prefer", "libpq's sslmode of connections to the control database; prefer is accepted on loopback only."
    )
    tls: TlsFiles = section(TlsFiles)
    query_seconds: float = setting(10.0, "Maximum duration of a statement on the control database.")
    idle_seconds: float = setting(
        10.0,
        "Time for which a process may be idle in a transaction on the control database; then the database ends it, so"
        " that a frozen process does not block failovers and other changes of the topology.",
    )
