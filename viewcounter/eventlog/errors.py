"""What can go wrong with the event log; each docstring is the operator's message."""


class EventLogError(Exception):
    """The event log did not answer in time, refused, or is unreachable. Retryable: events wait at the client."""


class EventLogFull(EventLogError):
    """The log server is out of memory or disk. Nothing was stored; drain the log or give it more room."""


class LogUnfit(EventLogError):
    """The server must not be used as the event log: nothing was stored, and trying again does not help.

    A person has to look at it. `code` is for clients, the text names no host.
    """

    code = "log_unfit"


class LogClockSkewed(LogUnfit):
    """The clocks of the log server and of this process are further apart than `log_clock_skew_seconds`.

    Positions, and with them what answers say of their completeness, are of the log server's clock. Put the clock right
    that is wrong: compare both machines with a third.
    """

    code = "log_clock_skew"


class PositionTrimmed(EventLogError):
    """Entries past the partition's position are gone: the shard is older than the log reaches back.

    Permanent: somebody restored an old shard, the log was trimmed too early, or the log server lost its end.
    The drain stops rather than skip what is missing.
    """
