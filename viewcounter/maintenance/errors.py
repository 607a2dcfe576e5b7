"""Errors of recounts; each docstring is the operator's message."""

from runtime.errors import Permanent


class RecountStuck(Exception, Permanent):
    """Videos still differ after a recount has repaired them many times. This is a defect: report it."""


class UnknownRecount(LookupError, Permanent):
    """No recount has this id."""
