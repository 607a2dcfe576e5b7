"""Settings of API keys and of rate limits."""

from dataclasses import dataclass

from runtime.settings import setting


@dataclass(frozen=True, slots=True)
class ApiKeySettings:
    """API keys."""

    cache_seconds: float = setting(
        5.0, "Time for which a process trusts its copy of an API key; a revoked key works at most this long."
    )
    cache_max: int = setting(
        10_000, "Maximum number of API keys that a process keeps, and of refused tokens; the oldest are dropped."
    )
    copy_seconds: float = setting(
        10.0, "Interval at which the API keys of the control database are written to the disk of each gateway host."
    )
    copy_max: int = setting(
        20_000, "Maximum number of API keys on the disk of a host; the least recently used are left out."
    )
    admin_unconfirmed_seconds: float = setting(
        86_400.0,
        "Time for which the scope admin of a key is accepted while the control database does not answer; then 503."
        " Other scopes have no such limit.",
    )
    lookup_seconds: float = setting(
        3.0, "Maximum wait for the look-up of an API key in the control database; then the last known answer counts."
    )
    lookups_max: int = setting(64, "Maximum number of API keys that a process looks up at once; beyond it 503.")


@dataclass(frozen=True, slots=True)
class PublicKeyLimits:
    """Public API keys."""

    requests_per_second: int = setting(
        500,
        "Requests a second, over all processes, of a public key without a limit of its own; then 429. 0: unlimited.",
        ge=0,
    )
    events_per_second: int = setting(
        2000,
        "Events a second, refused ones included, over all processes, of a public key without a limit of its own; a body"
        " counts as one event for each KiB at least; beyond it 429. 0: unlimited.",
        ge=0,
    )
    address_requests_per_second: int = setting(
        0,
        "Requests a second in each process of one client address with one public key; beyond it 429. Needs"
        " VIEWCOUNTER_SITE_PROXY_ADDRESSES behind a proxy. 0: unlimited.",
        ge=0,
    )


@dataclass(frozen=True, slots=True)
class RateLimitSettings:
    """Rate limits of API keys and of client addresses."""

    burst_seconds: float = setting(
        10.0, "Time for which an idle key saves up its rate: it may then use this many seconds' worth at once."
    )
    sync_seconds: float = setting(0.1, "Interval at which processes tell each other what their keys have used.")
    timeout_seconds: float = setting(
        0.5, "Maximum duration of a call to the cache for rate limits; then each process limits by itself."
    )
    addresses_max: int = setting(
        10_000, "Maximum number of client addresses whose limits a process keeps; the least recent ones are dropped."
    )
