"""What can go wrong with one database instance; each docstring is the operator's message.

Driver errors are turned into these once, in `shardproxy.translate`. Callers act on `Retryable` (the same call
may succeed elsewhere or later) and `Permanent` (it never will).
"""

from runtime.errors import CallerOnly, Permanent, Retryable


class ShardProxyError(Exception):
    """A database instance did not do what was asked. `sqlstate` is PostgreSQL's code, if it gave one."""

    def __init__(self, message: str, *, instance: str, sqlstate: str | None = None) -> None:
        super().__init__(f"{instance}: {message}")
        self.instance = instance
        self.sqlstate = sqlstate


class InstanceUnavailable(ShardProxyError, Retryable):
    """The server refuses connections, hangs up, or has just done so and is being left alone for a moment."""


class PoolExhausted(ShardProxyError, Retryable):
    """Every connection to this server is in use and the queue for one is full or too slow: load was shed."""


class DeadlineExceeded(ShardProxyError, CallerOnly):
    """The caller's deadline passed without an answer; the connection was cut. A frozen server looks like this."""


class StatementTimeout(ShardProxyError, Retryable):
    """The server cancelled the statement: it ran past the budget of its query class, or was killed."""


class ReadOnlyInstance(ShardProxyError, Retryable):
    """A write reached a server that takes none: a standby, or a primary that has been fenced. Topology is old."""


class LowerTerm(ShardProxyError, Retryable):
    """A primary that has been replaced answered: its term is below the topology's. Nothing was begun."""


class ForeignShard(ShardProxyError, Permanent):
    """The database there belongs to another cluster: an address in the topology is wrong. Nothing was begun."""


class Conflict(ShardProxyError, Retryable):
    """A deadlock, a lock not granted in time, or a replica's replay got in the way. Nothing was changed."""


class OutOfResources(ShardProxyError, Retryable):
    """The server has no disk, memory or connection slot left (SQLSTATE class 53). Give it some."""


class OutcomeUnknown(ShardProxyError, Retryable):
    """The connection was lost during COMMIT: the transaction may or may not stand. Read before writing again."""


class BadStatement(ShardProxyError, Permanent):
    """The statement or its data is wrong for this schema; `sqlstate` says how (None: refused by the driver)."""


class InstanceMisconfigured(Exception, Permanent):
    """What this machine's settings and the topology say of an instance cannot be used to connect to it.

    Raised while connecting; callers see it as InstanceUnavailable with this text.
    """


class InsecureConnection(InstanceMisconfigured):
    """The instance's SSL mode could drop TLS silently on the way to another machine."""


class UnreadablePassword(InstanceMisconfigured):
    """The variable or file named by an instance's `password_ref` is missing or empty on this machine."""
