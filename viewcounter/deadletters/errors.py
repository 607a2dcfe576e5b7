"""Errors of operations on dead letters; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class UnknownDeadLetter(LookupError, Permanent):
    """No dead letter has this id."""


class DeadLetterNotResolved(Exception, Permanent):
    """The dead letter cannot be replayed or discarded as requested; `code` and the text say why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class DeadLetterUnconfirmed(Exception, Retryable):
    """Shard or event log did not confirm the operation on a dead letter. Repeating it is harmless."""
