"""Errors that end a replay; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class ReplayError(Exception):
    """The replay cannot continue."""


class BadDataset(ReplayError, Permanent):
    """The sample does not match its README: restore the file. The message names the line."""


class BadReplayOption(ReplayError, Permanent):
    """An option is invalid, or gives events that the service would refuse, such as too old ones."""


class ServiceUnreachable(ReplayError, Retryable):
    """Nothing answers at the URL. Start the cluster with bin/up, then run the replay again."""


class ServiceRefused(ReplayError, Permanent):
    """The service refused a request: the key or its scope is wrong, or the service is not viewcounter."""


class DeadlinePassed(ReplayError, Retryable):
    """The service did not accept or apply all events in time. See bin/status for what is down."""
