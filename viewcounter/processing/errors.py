"""Why a drain stopped early; each docstring is the operator's message."""


class DrainError(Exception):
    """A drain ended without reaching the end of the log; beat starts another one."""


class PartitionNotOwned(DrainError):
    """The partition is held, stopped or has moved away from this shard. Its events wait in the log."""


class PartitionStopped(DrainError):
    """The partition has just stopped by itself: see its reason, find the cause, then resume it. Its events wait."""


class StaleTopology(DrainError):
    """The shard's row carries another epoch than our topology: the partition has moved. Retried after a refresh."""


class RecountStuck(Exception):
    """A recount repaired the same videos again and again and they still differ. A fault of ours."""


class UnknownRecount(LookupError):
    """No recount has this id."""


class UnknownDeadLetter(LookupError):
    """No dead letter has this id."""
