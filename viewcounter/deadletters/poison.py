"""What becomes of a batch that its shard refuses for good.

A BadStatement fails the same way however often it is repeated, and so does a batch with more dead letters than the
partition may have (TooManyDeadLetters): either would keep its partition busy for ever.
The drain hands it to a `PoisonHandler`, which gives back the same range of the log without the events at fault.
"""

from typing import Protocol

from shardproxy.errors import BadStatement
from viewcounter.processing.batch import PreparedBatch
from viewcounter.storage.errors import TooManyDeadLetters

Refused = BadStatement | TooManyDeadLetters
"""What a flush raises that is the same at every repeat."""
REFUSED = (BadStatement, TooManyDeadLetters)
"""The same, for `except`."""


class PoisonHandler(Protocol):
    """Called in the thread that writes, outside any transaction, with nothing of `prepared` written."""

    def isolate(self, prepared: PreparedBatch, error: Refused) -> PreparedBatch:
        """A batch for the same partition, epoch and range of positions, without the events that cannot be written.

        These become dead letters of the batch returned and count as such in its ledger; it does not store their ids.
        May try parts in transactions that it rolls back. The drain writes what it returns once, and judges all
        that follows anew. Raises `error`, PartitionStopped, or a Retryable error of the shard, to end the drain with
        nothing written.
        """


class NoIsolation:
    """Refuses to give anything up: the partition waits, and its drain fails, until somebody has looked."""

    def isolate(self, prepared: PreparedBatch, error: Refused) -> PreparedBatch:  # noqa: ARG002
        raise error
