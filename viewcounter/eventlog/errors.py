"""What can go wrong with the event log; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class EventLogError(Exception):
    """Base of every error of the event log. Each is Retryable or Permanent: whether the same call may succeed later."""


class EventLogUnavailable(EventLogError, Retryable):
    """The event log did not answer in time, or is unreachable. Clients keep their events and send them again."""


class LogRestarted(EventLogUnavailable):
    """The log server has been started again since the last call, or another process has begun a term of the log.

    Nothing was stored; the next call goes on.
    """


class LogBehind(EventLogUnavailable):
    """The log server holds less than it has acknowledged: it was restored from an older copy, or has lost its end.

    Nothing was stored. The log begins another term; what was not counted of the last one is reported as lost.
    """


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
    """This process's clock differs by more than `log_clock_skew_seconds` from most of those of log server and shards.

    Events would get a wrong receive time, and those of right clocks would be refused. Correct this machine's clock.
    """

    code = "log_clock_skew"
    remedy = "correct the clock of this machine"


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

    An old shard was restored, or the log was trimmed too early. The drain stops rather than skip the missing entries.
    """
