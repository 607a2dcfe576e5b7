"""Settings of POST /v1/events: times of events, group commit, spool, waiting, idempotency, shedding."""

from dataclasses import dataclass
from pathlib import Path

from runtime.settings import setting

SINGLE_EVENT_MAX_BYTES = 1024
"""Of an entry with one event, whatever its texts."""


@dataclass(frozen=True, slots=True)
class AcceptWindow:
    """Times of events."""

    past_seconds: int = setting(7 * 86400, "Age beyond which an event is rejected as too old.")
    future_seconds: int = setting(
        300, "Distance by which the time of an event may lie ahead of the gateway's clock; beyond it it is rejected."
    )


@dataclass(frozen=True, slots=True)
class CommitSettings:
    """Group commit of accepted events to the event log."""

    linger_ms: float = setting(
        2.0, "Milliseconds that a group commit waits for events of further requests before it is written.", ge=0
    )
    max_events: int = setting(20_000, "Maximum number of events in one group commit; further events go into the next.")
    entry_max_bytes: int = setting(
        256 * 1024,
        "Maximum size of one entry of the event log; a gateway appends more events of a partition as several entries.",
        ge=SINGLE_EVENT_MAX_BYTES,
    )
    max_wait_seconds: float = setting(
        5.0, "Time that events wait for a slow event log; then they are not appended any more and get a 503."
    )
    buffer_max_events: int = setting(
        100_000, "Maximum number of events of a process that wait for the event log; beyond it 503."
    )
    shutdown_seconds: float = setting(
        10.0, "Time that appends under way have to end when a gateway stops; then their requests fail."
    )


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """Spool for events while the event log is unavailable."""

    dir: Path | None = setting(
        None, "Folder on a local disk for events while the event log is unavailable; unset: those events get a 503."
    )
    max_bytes: int = setting(1024**3, "Maximum size of the spool of one gateway process; beyond it 503.")
    drain_interval_seconds: float = setting(0.2, "Interval at which spooled events are offered to the event log.")


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """Requests with `wait=applied`."""

    seconds: float = setting(
        5.0, "Maximum wait of a request with wait=applied; then its answer says that the events are not applied yet."
    )
    poll_seconds: float = setting(
        0.1, "Interval at which positions are read from the shards on behalf of all requests with wait=applied."
    )
    max_requests: int = setting(
        1000,
        "Maximum number of requests with wait=applied that wait at once in a process; further ones are answered without"
        " waiting.",
    )


@dataclass(frozen=True, slots=True)
class IdempotencySettings:
    """Requests with an Idempotency-Key."""

    seconds: int = setting(3600, "Time for which the answer to a request is kept under its Idempotency-Key.")
    claim_seconds: int = setting(
        15, "Time after which a request may reuse an Idempotency-Key whose gateway died before it answered."
    )
    answer_max_bytes: int = setting(
        65536, "Maximum size of an answer that is kept under its Idempotency-Key; a longer one is not kept."
    )


@dataclass(frozen=True, slots=True)
class ShedLimits:
    """Lag of counting beyond which new events are refused."""

    bytes: int = setting(
        1024**3,
        "Estimated size of the events in the event log that are not counted yet, beyond which new events get a 503.",
    )
    seconds: float = setting(
        6 * 3600.0, "Lag of most partitions beyond which new events get a 503 until counting has caught up."
    )
