"""What can go wrong with the local cluster. Docstrings are the operator's explanation."""

from runtime.errors import Permanent, Retryable


class LocalClusterError(Exception):
    """Base of everything this package raises on purpose."""


class TransientFailure(LocalClusterError, Retryable):
    """The same call may succeed later."""


class PermanentFailure(LocalClusterError, Permanent):
    """The same call will fail again until somebody changes something."""


class ProgramNotFound(PermanentFailure):
    """A server program is missing. Install requirements-local.lock, or name a system one in the settings."""


class ProgramFailed(PermanentFailure):
    """A program ended with an error. The message carries the end of its output."""


class SettingsContradict(PermanentFailure):
    """Two settings cannot both hold; the message names them."""


class StateUnusable(PermanentFailure):
    """The state folder cannot be used: another owner, or a path that is not what it should be."""


class AlreadyRunning(PermanentFailure):
    """A supervisor already runs this state folder. `bin/down` stops it."""


class NotReady(TransientFailure):
    """A server or process did not become ready in time. The message carries the end of its log."""


class StopRequested(PermanentFailure):
    """The start was given up because somebody asked to stop."""
