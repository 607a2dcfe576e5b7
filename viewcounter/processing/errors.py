"""Why a drain stopped early; each docstring is the operator's message."""

from collections.abc import Mapping

from runtime.errors import Permanent, Retryable
from viewcounter.eventlog.interface import Position


class DrainError(Exception):
    """A drain ended without reaching the end of the log. Its events wait there; another drain continues."""


class PartitionNotOwned(DrainError, Retryable):
    """The partition is held, stopped or has moved away from this shard. Its events wait in the log."""


class PartitionStopped(DrainError, Permanent):
    """The partition has just stopped: see its stop reason, remove the cause, then resume it. Its events wait."""


class StaleTopology(DrainError, Retryable):
    """The shard's row has another epoch than the topology: the partition has moved. Retried after a refresh."""


class VerdictsVoid(DrainError, Retryable):
    """A flush was written without some of its events, so the de-duplication of later batches is repeated. Harmless."""


class LogSuperseded(DrainError, Retryable):
    """The shard knows a later term of the log than the log server: the server has older data, or a term has begun."""


class LogEndLost(DrainError, Retryable):
    """The log of some partitions ends before their applied positions: its server has lost entries."""

    def __init__(self, positions: Mapping[int, Position]) -> None:
        super().__init__(f"the log ends before what has been applied of partitions {sorted(positions)}")
        self.positions = dict(positions)
