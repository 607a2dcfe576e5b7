"""Why a drain stopped early; each docstring is the operator's message."""

from runtime.errors import Permanent, Retryable


class DrainError(Exception):
    """A drain ended without reaching the end of the log; beat starts another one."""


class PartitionNotOwned(DrainError, Retryable):
    """The partition is held, stopped or has moved away from this shard. Its events wait in the log."""


class PartitionStopped(DrainError, Permanent):
    """The partition has just stopped: see its stop reason, remove the cause, then resume it. Its events wait."""


class StaleTopology(DrainError, Retryable):
    """The shard's row has another epoch than the topology: the partition has moved. Retried after a refresh."""


class VerdictsVoid(DrainError, Retryable):
    """A flush was written without its refused events, so the de-duplication of later batches is repeated. Harmless."""
