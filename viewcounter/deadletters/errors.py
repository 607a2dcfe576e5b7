"""Errors of operations on dead letters; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class UnknownDeadLetter(LookupError, Permanent):
    """No dead letter has this id."""


class DeadLetterNotResolved(Exception, Permanent):
    """The dead letter can be neither replayed nor discarded as asked; `code` and the text say why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class DeadLetterUnconfirmed(Exception, Retryable):
    """Shard or event log did not confirm what was asked for a dead letter. Retryable: repeating it is harmless."""
