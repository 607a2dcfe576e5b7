"""Errors that end a drill without a verdict; each docstring is the operator's message. A broken guarantee is none."""

from runtime.errors import Permanent, Retryable


class DrillError(Exception):
    """The drill ended without a verdict."""


class BadDrillOption(DrillError, Permanent):
    """An option contradicts another one, or names an unknown fault. The message names it."""


class SettleFailed(DrillError, Retryable):
    """After the load was stopped, some posts were never acknowledged."""


class NoVictim(DrillError, Retryable):
    """The process or server that a fault needs does not run at the moment."""


class NotFresh(DrillError, Retryable):
    """Events that the fault should not have affected were counted late. The report names it as a violation."""
