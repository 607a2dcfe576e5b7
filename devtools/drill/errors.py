"""Errors that end a drill without a verdict; each docstring is the operator's message. A broken guarantee is none."""


class DrillError(Exception):
    """The drill ended without a verdict. Permanent unless a subclass says otherwise."""


class BadDrillOption(DrillError):
    """An option contradicts another one, or names an unknown fault. The message names it."""


class SettleFailed(DrillError):
    """Retryable: after the load was stopped, some posts were never acknowledged."""


class NoVictim(DrillError):
    """Retryable: the process or server that a fault needs does not run at the moment."""
