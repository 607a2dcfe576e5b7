"""Django's backend for PostgreSQL, with our connections: several hosts and passwords, and a bound on every wait.

Entries of `DATABASES` beside Django's: READ_PASSWORD, a function that is called for each connection; WAIT_SECONDS, the
longest wait for an answer, None for no bound. PASSWORD and READ_PASSWORD may be several passwords, one a line.
"""

from typing import Any

from django.db import DEFAULT_DB_ALIAS
from django.db.backends.postgresql import base
from django.db.backends.postgresql.psycopg_any import IsolationLevel
from django.utils.asyncio import async_unsafe

from shardproxy.connection import AnsweredConnection
from viewcounter.controlplane.control_connection import LastAccepted, build_address_parameters, last_accepted
from viewcounter.controlplane.settings import pair_addresses


class DatabaseWrapper(base.DatabaseWrapper):
    """Without Django's pool and isolation levels, which nobody sets."""

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        self._accepted = last_accepted if alias == DEFAULT_DB_ALIAS else LastAccepted()

    def get_connection_params(self) -> dict[str, Any]:
        """With the password that the last connection of this process was made with, if it still is one of them."""
        parameters: dict[str, Any] = super().get_connection_params()
        hosts, ports = str(parameters["host"]), str(parameters["port"])
        parameters |= build_address_parameters(pair_addresses(hosts, ports), self._accepted)
        return parameters | {"password": self._read_passwords().partition("\n")[0]}

    @async_unsafe
    def get_new_connection(self, conn_params: dict[str, Any]) -> AnsweredConnection:
        self.isolation_level = IsolationLevel.READ_COMMITTED
        connection = AnsweredConnection.connect(**conn_params | {"password": self._read_passwords()})
        connection.wait_seconds = self.settings_dict.get("WAIT_SECONDS")
        self._accepted.remember(connection)
        return connection

    def _read_passwords(self) -> str:
        read = self.settings_dict.get("READ_PASSWORD")
        return self._accepted.order_passwords(self.settings_dict["PASSWORD"] if read is None else read())
