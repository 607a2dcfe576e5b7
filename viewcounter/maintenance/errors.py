"""Errors of recounts and of backups; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class RecountStuck(Exception, Permanent):
    """Videos still differ after a recount has repaired them many times. This is a defect: report it."""


class UnknownRecount(LookupError, Permanent):
    """No recount has this id."""


class BackupError(Exception):
    """The control database is not backed up."""


class BackupFailed(BackupError, Retryable):
    """The control database could not be dumped, or a scratch database could not be made. No file was left behind."""


class BackupNotVerified(BackupError, Retryable):
    """A dump cannot be restored or differs from what was dumped. It is kept without a time of verification."""


class BackupInProgress(BackupError, Retryable):
    """Only one process at a time backs up the control database."""


class BackupProgramMissing(BackupError, Permanent):
    """pg_dump or pg_restore is not installed on this host."""
