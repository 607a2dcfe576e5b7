"""Errors of the local cluster; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class LocalClusterError(Exception):
    """Base of all errors of this package."""


class TransientFailure(LocalClusterError, Retryable):
    """The same call may succeed later."""


class PermanentFailure(LocalClusterError, Permanent):
    """The same call fails again until its cause is removed."""


class ProgramNotFound(PermanentFailure):
    """A server program is missing. Install requirements-local.lock, or set the path of another one."""


class ProgramFailed(PermanentFailure):
    """A program failed. The message contains the end of its output."""


class SettingsContradict(PermanentFailure):
    """Two settings contradict each other; the message names them."""


class StateUnusable(PermanentFailure):
    """The state folder cannot be used: it has another owner, or one of its paths is not of the expected type."""


class AlreadyRunning(PermanentFailure):
    """A cluster already runs in this state folder. Stop it with `bin/down`."""


class NotReady(TransientFailure):
    """A server or process did not become ready in time. The message contains the end of its log."""


class StopRequested(PermanentFailure):
    """The start was cancelled."""
