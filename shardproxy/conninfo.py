"""Connection parameters of an instance: an allow-list of libpq keys, and nothing inherited from the environment.

libpq fills every key that is not given from `PG*` variables, so a stray `PGOPTIONS` or `PGHOSTADDR` would silently
redirect a shard. Not every key has a value that says "as if not given", so the variables themselves are removed.
"""

import os
from functools import cache

from psycopg import pq

from configservice.topology import Instance
from shardproxy.passwords import read_password
from shardproxy.settings import PoolSettings

KEEPALIVE_IDLE_SECONDS = 10
KEEPALIVE_INTERVAL_SECONDS = 5
KEEPALIVE_COUNT = 3
UNSENT_DATA_TIMEOUT_SECONDS = 10


def build_connection_parameters(instance: Instance, settings: PoolSettings) -> dict[str, str | int]:
    """libpq parameters with the password read now. Raises UnreadablePassword."""
    forget_environment()
    return {
        "host": instance.host,
        "port": instance.port,
        "dbname": instance.database,
        "user": instance.user,
        "password": read_password(instance.password_ref, settings.password_refs),
        "sslmode": instance.sslmode,
        "application_name": settings.application_name,
        "connect_timeout": settings.connect_timeout_seconds,
        "keepalives": 1,
        "keepalives_idle": KEEPALIVE_IDLE_SECONDS,
        "keepalives_interval": KEEPALIVE_INTERVAL_SECONDS,
        "keepalives_count": KEEPALIVE_COUNT,
        "tcp_user_timeout": UNSENT_DATA_TIMEOUT_SECONDS * 1000,
        "client_encoding": "UTF8",
    }


def build_place(instance: Instance, address: str) -> dict[str, str | int]:
    """More parameters, to connect to `address` whatever the instance's host name means by now; empty for none.

    Nobody has vouched for a server at such an address, so it is not told the password itself, unless its certificate
    proves that it is the host. One with SCRAM, as PostgreSQL has it by default, never asks for it.
    """
    if not address:
        return {}
    place: dict[str, str | int] = {"hostaddr": address}
    if instance.sslmode != "verify-full":
        place["require_auth"] = "!password"
    return place


def is_same_server(one: Instance, other: Instance) -> bool:
    """Whether connections to one may serve for the other. A change of role or zone changes nothing for them."""
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


@cache
def forget_environment() -> None:
    """Once a process: `PG*` variables are gone, for its children too."""
    for option in pq.Conninfo.get_defaults():
        if option.envvar:
            os.environ.pop(option.envvar.decode(), None)
