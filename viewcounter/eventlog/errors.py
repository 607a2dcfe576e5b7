"""What can go wrong with the event log; each docstring is the operator's message."""


class EventLogError(Exception):
    """The event log did not answer in time, refused, or is unreachable. Retryable: events wait at the client."""


class EventLogFull(EventLogError):
    """The log server is out of memory or disk. Nothing was stored; drain the log or give it more room."""


class EntryRefused(EventLogError):
    """The log server answers and takes entries, but not this one: its partition's stream is damaged, or the entry is.

    Look at the key `log:{partition}` on the server. Other partitions are not concerned.
    """


class LogUnfit(EventLogError):
    """The server must not be used as the event log: nothing was stored, and trying again does not help.

    A person has to look at it: `remedy` says what to do. `code` is for clients, the text names no host.
    """

    code = "log_unfit"
    remedy = ""


class LogClockSkewed(LogUnfit):
    """The clocks of the log server and of this process are further apart than `log_clock_skew_seconds`.

    Positions, and with them what answers say of their completeness, are of the log server's clock. Put the clock right
    that is wrong: compare both machines with a third.
    """

    code = "log_clock_skew"
    remedy = "put the clock right that differs from a third machine's"


class LogUnsafe(LogUnfit):
    """The log server is configured so that it may lose what it has acknowledged: it keeps no file, or evicts keys."""

    code = "log_unsafe"
    remedy = "set `appendonly yes` and `maxmemory-policy noeviction` on the log server"


class LogLost(LogUnfit):
    """The log server does not hold the log of this cluster: it lost its data, is an empty one, or another cluster's.

    If the data are lost for good, `manage.py accept_log_loss` writes down what is lost, and the cluster goes on with
    this server.
    """

    code = "log_lost"
    remedy = "bring the server with the data back; if they are lost for good, run `manage.py accept_log_loss`"


class PositionTrimmed(EventLogError):
    """Entries past the partition's position are gone: the shard is older than the log reaches back.

    Permanent: somebody restored an old shard, the log was trimmed too early, or the log server lost its end.
    The drain stops rather than skip what is missing.
    """
