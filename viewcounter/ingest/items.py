"""One event that is not accepted, as the answer names it."""

import msgspec


class ItemProblem(msgspec.Struct, frozen=True):
    """`index` counts the events of the request from 0; `event_id` is None where none could be read.

    `retryable`: the event is fine, send it again under the same id.
    """

    index: int
    event_id: str | None
    code: str
    field: str | None
    message: str
    retryable: bool = False
