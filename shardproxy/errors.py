"""Errors of one database instance; each docstring is the operator's message.

Driver errors become these errors in one place, `shardproxy.translate`. Callers act on `Retryable` (the same call may
succeed on another instance or later) and `Permanent` (it never will).
"""

from runtime.errors import CallerOnly, Permanent, Retryable


class ShardProxyError(Exception):
    """A database instance did not complete a call. `sqlstate` is PostgreSQL's code, if it gave one.

    Base class; each subclass is Retryable or Permanent."""

    def __init__(self, message: str, *, instance: str, sqlstate: str | None = None) -> None:
        super().__init__(f"{instance}: {message}")
        self.instance = instance
        self.sqlstate = sqlstate


class InstanceUnavailable(ShardProxyError, Retryable):
    """The server refuses or closes connections, or its circuit breaker is open since it has just done so."""


class PoolExhausted(ShardProxyError, Retryable):
    """All connections of this process to the server are in use, and the queue for one is full or too slow."""


class DeadlineExceeded(ShardProxyError, CallerOnly):
    """The caller's deadline passed without an answer, and the connection was closed. A frozen server causes this."""


class StatementTimeout(ShardProxyError, Retryable):
    """The server cancelled the statement: it exceeded the budget of its query class, or the session reaper cancelled
    it."""


class ReadOnlyInstance(ShardProxyError, Retryable):
    """A write reached a server that takes no writes: a standby or a fenced primary. The caller's topology is old."""


class LowerTerm(ShardProxyError, Retryable):
    """A replaced primary answered: its shard term is below the topology's. The transaction was not begun."""


class HigherGeneration(ShardProxyError, Retryable):
    """The shard is in a later generation of the topology than the caller: the control database has been rebuilt. The
    caller's topology is old; the transaction was not begun."""


class ForeignShard(ShardProxyError, Permanent):
    """The database belongs to another cluster: an address in the topology is wrong. The transaction was not begun."""


class Conflict(ShardProxyError, Retryable):
    """A deadlock, a lock timeout, a serialization failure or a recovery conflict on a replica. Nothing was changed."""


class OutOfResources(ShardProxyError, Retryable):
    """The server has run out of disk, memory or connection slots (SQLSTATE class 53). Add some of what it lacks."""


class OutcomeUnknown(ShardProxyError, Retryable):
    """The connection was lost during COMMIT: the transaction may or may not be committed. Read before writing again."""


class BadStatement(ShardProxyError, Permanent):
    """The statement or its data does not fit the schema; `sqlstate` says how (None: refused by the driver)."""


class InstanceMisconfigured(Exception, Permanent):
    """The settings of this process, or the topology's entry of an instance, do not allow a connection to it.

    Raised while connecting; callers get it as InstanceUnavailable with this text.
    """


class InsecureConnection(InstanceMisconfigured):
    """The SSL mode of the instance could silently fall back to plain text on a connection to another machine."""


class UnreadablePassword(InstanceMisconfigured):
    """The variable or file that an instance's `password_ref` names is missing or empty on this machine."""
