"""Errors of queries: in their parameters, or on the shard that should execute them."""

from runtime.errors import Permanent, Retryable


class InvalidQuery(Permanent, ValueError):
    """A parameter of the query has a value that cannot be used. Permanent: the client must change it.

    `field` is the name of the parameter, `code` is stable for programs, `message` is for people.
    """

    def __init__(self, field: str, code: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.code = code
        self.message = message


class PartitionElsewhere(Retryable, Exception):
    """The shard that answered does not hold the partition: it is moving, or the shard is being set up.

    Retryable: the topology has been refreshed, the next attempt is routed anew. If it stays, compare the
    partition's assignment with `partition_state` on its shard.
    """

    def __init__(self, partition: int, *, shard_id: int) -> None:
        super().__init__(f"partition {partition} is not on shard {shard_id}")
        self.partition = partition
        self.shard_id = shard_id


class SketchesBehind(Retryable, Exception):
    """An answer would read more raw events than its limit: sketches of closed hours are not built yet.

    Retryable: they are built within minutes, or the answer comes from the cache. If it stays, look at
    viewcounter_sketches_due_buckets and the task `sketch`.
    """
