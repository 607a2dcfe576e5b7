"""What can go wrong with the local cluster. Docstrings are the operator's explanation."""


class LocalClusterError(Exception):
    """Base of everything this package raises on purpose."""


class Retryable(LocalClusterError):
    """The same call may succeed later."""


class Permanent(LocalClusterError):
    """The same call will fail again until somebody changes something."""


class ProgramNotFound(Permanent):
    """A server program is missing. Install requirements-local.lock, or name a system one in the settings."""


class ProgramFailed(Permanent):
    """A program ended with an error. The message carries the end of its output."""


class SettingsContradict(Permanent):
    """Two settings cannot both hold; the message names them."""


class StateUnusable(Permanent):
    """The state folder cannot be used: another owner, or a path that is not what it should be."""


class AlreadyRunning(Permanent):
    """A supervisor already runs this state folder. `bin/down` stops it."""


class NotReady(Retryable):
    """A server or process did not become ready in time. The message carries the end of its log."""


class StopRequested(Permanent):
    """The start was given up because somebody asked to stop."""
