"""Connection parameters of an instance: a closed list of libpq keywords.

libpq takes a missing keyword from the environment (`PG*`), so a stray `PGOPTIONS` or `PGHOSTADDR` would silently
redirect a shard. Processes with such variables do not start (`shardproxy.tls.find_stray_variables`).
"""

from collections.abc import Mapping

from configservice.topology.model import Instance
from shardproxy.passwords import read_password
from shardproxy.settings import PoolSettings
from shardproxy.tls import build_tls_parameters

LOST_PEER_PARAMETERS: Mapping[str, str | int] = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""The kernel ends a connection to a machine that is gone: 10 s after data that nobody acknowledges, 25 s when idle."""


def build_connection_parameters(instance: Instance, settings: PoolSettings) -> dict[str, str | int]:
    """libpq parameters; reads the password file or variable now. Raises InstanceMisconfigured."""
    return {
        "host": instance.host,
        "port": instance.port,
        "dbname": instance.database,
        "user": instance.user,
        "password": read_password(instance.password_ref, settings.password_refs),
        **build_tls_parameters(host=instance.host, sslmode=instance.sslmode, files=settings.tls),
        "application_name": settings.application_name,
        "connect_timeout": settings.connect_timeout_seconds,
        **LOST_PEER_PARAMETERS,
        "client_encoding": "UTF8",
    }


def build_hostaddr_parameters(address: str) -> dict[str, str | int]:
    """Parameters that pin the connection to `address`, whatever the host name resolves to; none for an empty one."""
    return {"hostaddr": address} if address else {}


def is_same_server(one: Instance, other: Instance) -> bool:
    """Whether connections to `one` are valid for `other`. Role and zone do not matter."""
    return _get_address(one) == _get_address(other)


def _get_address(instance: Instance) -> tuple[str, int, str, str, str, str]:
    return (
        instance.host,
        instance.port,
        instance.database,
        instance.user,
        instance.password_ref,
        instance.sslmode,
    )
