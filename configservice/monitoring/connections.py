"""How the config service reaches an instance: a seam, since connections with deadlines belong to the shard proxy.

The config service depends on nobody, so whoever starts it hands in a `Connect`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from configservice.topology.model import Instance


class InstanceConnection(Protocol):
    """One connection as the role that may operate servers. Used by one thread at a time; reconnects when asked next."""

    def fetch(
        self, statement: str, params: Mapping[str, Any] | None = None, *, timeout_seconds: float
    ) -> list[dict[str, Any]]:
        """Rows, by column name. Raises InstanceSilent, InstanceGone, InstanceRefuses or ActionFailed."""

    def execute(self, statement: str, *, timeout_seconds: float) -> None:
        """As `fetch`, for a statement without rows; outside any transaction."""

    def fileno(self) -> int | None:
        """The socket while connected: readable while nobody asks means that the server has hung up."""

    def close(self) -> None: ...


Connect = Callable[[Instance], InstanceConnection]
"""Makes no connection yet; the first call of a method does."""
