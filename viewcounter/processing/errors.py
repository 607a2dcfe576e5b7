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
