"""Errors of the losses of the event log."""

from runtime.errors import Permanent, Retryable


class SalvageRefused(Exception, Permanent):
    """The older log server cannot be salvaged; the text says why. Nothing was changed."""


class LossesUnconfirmed(Exception, Retryable):
    """Not all shards answered, or the salvaged entries have not been applied in time. Repeating is harmless."""
