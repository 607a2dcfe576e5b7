"""Settings of the event log and its clients."""

from dataclasses import dataclass

from pydantic import SecretStr

from runtime.settings import setting


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Event log."""

    url: SecretStr = setting(SecretStr("redis://127.0.0.1:6379/0"), "Address of the event log's Valkey server.")
    timeout_seconds: float = setting(1.0, "Maximum duration of one call to the event log; then it has failed.")
    clock_skew_seconds: float = setting(
        60.0,
        "Difference of a gateway's clock from most of those of the event log's server and the shards beyond which the"
        " gateway appends nothing: 503.",
    )
    attempts: int = setting(
        3, "Maximum number of attempts to append to the event log, with exponential backoff and full jitter; then 503."
    )
    append_seconds: float = setting(1.5, "Time after which a failed append to the event log is not attempted again.")
    breaker_open_seconds: float = setting(1.0, "Time for which an event log that failed gets no further appends.")
    retry_after_seconds: int = setting(2, "Retry-After of a 503 to an event; up to as much again is added at random.")
    full_share: float = setting(
        0.9,
        "Part of the event log server's `maxmemory` that may be in use; beyond it new events get a 503, before the"
        " server refuses entries.",
        le=1,
    )
    lag_interval_seconds: float = setting(
        10.0, "Interval at which the lag of counting behind the event log is measured, for metrics and for shedding."
    )
