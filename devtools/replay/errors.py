"""What stops a replay; each docstring is the operator's message."""


class ReplayError(Exception):
    """The replay cannot go on. Permanent unless a subclass says otherwise."""


class BadDataset(ReplayError):
    """The sample is not what its README promises: restore the file. The message names the line."""


class BadReplayOption(ReplayError):
    """An option asks for what the service would refuse, such as events older than its accept window."""


class ServiceUnreachable(ReplayError):
    """Nothing answers at the URL within the time allowed. Retryable: start the cluster with bin/up, then run again."""


class ServiceRefused(ReplayError):
    """The service answered, and will answer the same again: a wrong key or scope, or a request it does not know."""


class DeadlinePassed(ReplayError):
    """The service did not accept or apply everything in time. Retryable: look at bin/status for what is down."""
