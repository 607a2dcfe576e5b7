"""What can go wrong with the event log; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class EventLogError(Exception):
    """Base of every error of the event log. Each is Retryable or Permanent: whether the same call may succeed later."""


class EventLogUnavailable(EventLogError, Retryable):
    """The event log did not answer in time, or is unreachable. Clients keep their events and send them again."""


class EventLogFull(EventLogError, Retryable):
    """The log server is out of memory or disk. Nothing was stored; drain the log or give it more room."""


class EntryRefused(EventLogError, Permanent):
    """The log server takes entries, but not this one: its partition's stream is damaged, or the entry is.

    Look at the key `log:{partition}` on the server. Other partitions are not affected.
    """


class LogUnfit(EventLogError, Permanent):
    """The server must not be used as the event log: nothing was stored, and an operator has to act first.

    `remedy` says what to do. `code` is for clients; the text names no host.
    """

    code = "log_unfit"
    remedy = ""


class LogClockSkewed(LogUnfit):
    """The clocks of the log server and of this process differ by more than `log_clock_skew_seconds`.

    Positions, and with them the watermarks of responses, are of the log server's clock. Correct the clock that is
    wrong: compare both machines with a third.
    """

    code = "log_clock_skew"
    remedy = "put the clock right that differs from a third machine's"


class LogUnsafe(LogUnfit):
    """The log server may lose acknowledged events by its configuration: no append-only file, or keys are evicted."""

    code = "log_unsafe"
    remedy = "set `appendonly yes` and `maxmemory-policy noeviction` on the log server"


class LogLost(LogUnfit):
    """The log server does not have the log of this cluster: it lost its data, is empty, or has another cluster's log.

    If the data are lost for good, `manage.py accept_log_loss` records what is lost, and the cluster continues with
    this server.
    """

    code = "log_lost"
    remedy = "bring the server with the data back; if they are lost for good, run `manage.py accept_log_loss`"


class PositionTrimmed(EventLogError, Permanent):
    """Entries past the partition's position are gone: the shard is older than the oldest entry of the log.

    An old shard was restored, the log was trimmed too early, or the log server lost its end. The drain stops rather
    than skip the missing entries.
    """
