"""All bounds of a client, with defaults for a web application."""

from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path


class Overflow(StrEnum):
    """Policy for an event when the buffer is full."""

    DROP_NEWEST = "drop_newest"
    """The event is dropped and counted."""
    DROP_OLDEST = "drop_oldest"
    """The oldest events are dropped and counted."""
    RAISE = "raise"
    """`track` raises BufferFull."""
    BLOCK = "block"
    """`track` waits for room, at most `block_seconds`, then drops it. Threads only: asyncio must not be blocked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Raises ValueError that names the invalid option.

    `max_batch_events` and `max_batch_bytes` must not pass what the service takes in one request (1,000 and 1 MiB).
    `rejected_pause_seconds` is the pause between attempts while the service rejects the API key or the address.
    `keep_accepted_events`: how many accepted ones are kept in memory, to be sent again if the service has lost them.
    `spool_directory` keeps on disk what cannot be delivered now; it belongs to one client at a time.
    """

    max_batch_events: int = 500
    max_batch_bytes: int = 900_000
    linger_seconds: float = 0.2
    max_buffer_events: int = 100_000
    max_buffer_bytes: int = 64 * 1024 * 1024
    keep_accepted_events: int = 10_000
    overflow: Overflow = Overflow.DROP_NEWEST
    block_seconds: float = 1.0
    connect_timeout_seconds: float = 2.0
    request_timeout_seconds: float = 10.0
    backoff_first_seconds: float = 0.1
    backoff_max_seconds: float = 10.0
    retry_after_max_seconds: float = 60.0
    breaker_failures: int = 5
    breaker_open_seconds: float = 5.0
    rejected_pause_seconds: float = 30.0
    query_attempts: int = 3
    close_seconds: float = 5.0
    spool_directory: Path | None = None
    spool_max_bytes: int = 1024 * 1024 * 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value <= 0:
                raise ValueError(f"{field.name} must be positive, not {value}")
        if self.max_batch_events > self.max_buffer_events:
            raise ValueError("max_batch_events must not be more than max_buffer_events")
        if self.max_batch_bytes > self.max_buffer_bytes:
            raise ValueError("max_batch_bytes must not be more than max_buffer_bytes")
        Overflow(self.overflow)
