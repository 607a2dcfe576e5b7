"""Errors of recounts; each docstring is the operator's message."""

from runtime.errors import Permanent


class RecountStuck(Exception, Permanent):
    """A recount repaired the same videos again and again and they still differ. A fault of ours."""


class UnknownRecount(LookupError, Permanent):
    """No recount has this id."""
