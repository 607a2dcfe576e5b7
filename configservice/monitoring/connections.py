"""Seam for connections to instances: connections with deadlines belong to `shardproxy`, which is not imported here.

The process that starts a config service passes in a `Connect`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from configservice.topology.model import Instance


class InstanceConnection(Protocol):
    """A connection as the role that may operate servers. Used by one thread at a time; reconnects when needed."""

    def fetch(
        self, statement: str, params: Mapping[str, Any] | None = None, *, timeout_seconds: float
    ) -> list[dict[str, Any]]:
        """Rows as dicts. Raises InstanceSilent, InstanceGone, InstanceRefuses or ActionFailed."""

    def execute(self, statement: str, *, timeout_seconds: float) -> None:
        """Like `fetch`, for a statement without rows; outside any transaction."""

    def fileno(self) -> int | None:
        """The socket while connected. Readable between statements: the server has hung up."""

    def close(self) -> None: ...


Connect = Callable[[Instance], InstanceConnection]
"""Does not connect yet; the first call of a method does."""
