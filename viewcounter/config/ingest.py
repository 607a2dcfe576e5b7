"""Settings of POST /v1/events: limits of events, group commit, spool, API keys, shedding."""

from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings


class IngestConfig(BaseSettings):
    """Ingest."""

    # -- what is accepted ----------------------------------------------------------------------------
    accept_window_seconds: PositiveInt = Field(7 * 86400, description="oldest event accepted")
    accept_future_seconds: PositiveInt = Field(300, description="furthest event time ahead of our clock")
    request_max_events: PositiveInt = 1000
    request_max_bytes: PositiveInt = Field(1024 * 1024, description="body limit, before and after unpacking")
    request_explain_max_values: PositiveInt = Field(
        100_000,
        description="JSON values looked through to say what is wrong with events; beyond it no field is named, or 400",
    )
    request_discard_bytes: PositiveInt = Field(
        16 * 1024 * 1024, description="an oversized body is read this far, so that its sender sees the 413"
    )

    request_bodies_held_max_bytes: PositiveInt = Field(
        64 * 1024 * 1024,
        description="of bodies of a process that are not whole yet; beyond it the one begun first gets a 408",
    )

    # -- gateway -------------------------------------------------------------------------------------
    commit_linger_ms: float = Field(2.0, ge=0, description="how long a group commit waits for company")
    commit_max_events: PositiveInt = Field(20_000, description="events in one group commit")
    commit_max_wait_seconds: PositiveFloat = Field(
        5.0, description="what has waited so long for a slow log is not appended any more: 503"
    )
    buffer_max_events: PositiveInt = Field(100_000, description="events waiting for the log; beyond it 503")
    log_timeout_seconds: PositiveFloat = Field(1.0, description="one call to the event log")
    log_clock_skew_seconds: PositiveFloat = Field(
        60.0, description="a log server whose clock is further from the gateway's takes nothing: 503"
    )
    log_attempts: PositiveInt = Field(3, description="attempts of one append, with backoff and full jitter")
    log_append_seconds: PositiveFloat = Field(1.5, description="no further attempt of an append begins after this")
    log_breaker_open_seconds: PositiveFloat = Field(1.0, description="a log that failed is left alone this long")
    spool_dir: Path | None = Field(
        None, description="folder on a disk of this host for events while the log is away; empty: they get a 503"
    )
    spool_max_bytes: PositiveInt = Field(1024**3, description="of each gateway process; beyond it 503")
    spool_drain_interval_seconds: PositiveFloat = Field(0.2, description="spooled events are offered to the log")
    log_retry_after_seconds: PositiveInt = Field(2, description="Retry-After of a 503, plus up to as much jitter")
    request_body_seconds: PositiveFloat = Field(10.0, description="a client has this long to send its body")
    wait_applied_seconds: PositiveFloat = Field(5.0, description="`wait=applied` waits so long; then: not applied yet")
    wait_applied_poll_seconds: PositiveFloat = Field(0.1, description="shards are asked this often for all who wait")
    wait_applied_max_requests: PositiveInt = Field(1000, description="of a process at once; more are not waited for")
    idempotency_seconds: PositiveInt = Field(3600, description="an answer is kept this long by its Idempotency-Key")
    idempotency_claim_seconds: PositiveInt = Field(15, description="a gateway that died holds its keys this long")
    idempotency_answer_max_bytes: PositiveInt = Field(65536, description="a longer answer is not kept by its key")
    shutdown_drain_seconds: PositiveFloat = Field(10.0, description="appends under way may finish this long")
    api_key_cache_seconds: PositiveFloat = Field(5.0, description="a revoked key works at most this long")
    api_key_cache_max: PositiveInt = Field(10_000, description="keys, and as many refused tokens, a process knows")
    api_key_grace_seconds: PositiveFloat = Field(600.0, description="known keys work so long without control database")
    api_key_lookup_seconds: PositiveFloat = Field(3.0, description="one look-up of a key in the control database")
    api_key_lookups_max: PositiveInt = Field(64, description="keys being looked up at once in a process; beyond it 503")
    public_key_requests_per_second: NonNegativeInt = Field(
        500, description="of a public key that has no such limit of its own, over all processes; 0: no limit"
    )
    public_key_events_per_second: NonNegativeInt = Field(
        2000, description="the same for events, also refused ones; a body counts at least as its KiB; 0: no limit"
    )
    public_key_address_requests_per_second: NonNegativeInt = Field(
        0, description="of one client address with one public key, by process; needs proxy_addresses; 0: no limit"
    )
    address_limits_max: PositiveInt = Field(10_000, description="client addresses a process keeps limits of")
    rate_limit_burst_seconds: PositiveFloat = Field(10.0, description="what an idle key may catch up on")
    rate_limit_sync_seconds: PositiveFloat = Field(0.1, description="processes even out what their keys have used")
    rate_limit_timeout_seconds: PositiveFloat = Field(0.5, description="one call for that; then each limits by itself")

    shed_lag_events: PositiveInt = Field(20_000_000, description="events uncounted in the log; beyond it 503")
    shed_lag_seconds: PositiveFloat = Field(6 * 3600.0, description="most partitions are this far behind; then 503")
