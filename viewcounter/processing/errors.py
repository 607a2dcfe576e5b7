"""Why a drain stopped early; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class DrainError(Exception):
    """A drain ended without reaching the end of the log; beat starts another one."""


class PartitionNotOwned(DrainError, Retryable):
    """The partition is held, stopped or has moved away from this shard. Its events wait in the log."""


class PartitionStopped(DrainError, Permanent):
    """The partition has just stopped by itself: see its reason, find the cause, then resume it. Its events wait."""


class StaleTopology(DrainError, Retryable):
    """The shard's row carries another epoch than our topology: the partition has moved. Retried after a refresh."""


class VerdictsVoid(DrainError, Retryable):
    """A flush was written without some of its events: what was judged after it is judged anew. No harm."""


class RecountStuck(Exception, Permanent):
    """A recount repaired the same videos again and again and they still differ. A fault of ours."""


class UnknownRecount(LookupError, Permanent):
    """No recount has this id."""


class UnknownDeadLetter(LookupError, Permanent):
    """No dead letter has this id."""


class DeadLetterNotResolved(Exception, Permanent):
    """The dead letter can be neither replayed nor discarded as asked; `code` and the text say why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class DeadLetterUnconfirmed(Exception, Retryable):
    """Shard or event log did not confirm what was asked for a dead letter. Retryable: repeating it is harmless."""
