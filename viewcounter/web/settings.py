"""Settings of the web processes."""

from dataclasses import dataclass
from typing import Literal

from runtime.http.settings import HeadLimits
from runtime.settings import section, setting, split_commas

AccessLog = Literal["none", "failed", "all"]


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """Hosts, HTTPS and proxies in front of the web processes."""

    allowed_hosts: tuple[str, ...] = setting(
        ("127.0.0.1", "localhost", "[::1]"),
        "Values of the Host header that are served, separated by commas; a request with another one gets a 400.",
        parse=split_commas,
    )
    https_only: bool = setting(
        True,
        "Whether HTTPS is demanded: posts of events by plain HTTP get a 403, other requests are redirected, cookies are"
        " marked secure.",
    )
    behind_tls_proxy: bool = setting(
        False,
        "Whether X-Forwarded-Proto is believed. Only behind a proxy that ends TLS and removes the header of clients.",
    )
    proxy_addresses: str = setting(
        "127.0.0.1,::1",
        "Addresses and networks of proxies, separated by commas; with VIEWCOUNTER_SITE_BEHIND_TLS_PROXY, the client"
        " address is taken from their X-Forwarded-For.",
    )


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Web processes."""

    bind: str = setting("127.0.0.1:8000", "host:port at which the web processes listen.")
    workers: int = setting(1, "Number of web worker processes; one for each core is usual.")
    graceful_seconds: int = setting(
        10, "Time that requests under way have to end when a web process stops; then they are cut off."
    )
    linger_seconds: float = setting(
        1.0, "Time for which a stopping web process still answers on open connections, telling clients to close them."
    )
    max_connections: int = setting(2000, "Maximum number of open connections of a web process; beyond it 503.")
    head: HeadLimits = section(HeadLimits)
    keyless_max_at_once: int = setting(
        2, "Maximum number of requests without a valid secret key that Django serves at once in a process."
    )
    keyless_max_waiting: int = setting(
        100, "Maximum number of requests without a valid secret key that wait in a process to be served; beyond it 503."
    )
    keyless_wait_seconds: float = setting(
        5.0, "Maximum wait of a request without a valid secret key, or of a log-in, to be served; then 503."
    )
    silent_seconds: int = setting(30, "Silence of a web worker process after which it is killed and replaced.")


@dataclass(frozen=True, slots=True)
class LogInSettings:
    """Log-ins to the admin."""

    max_at_once: int = setting(
        2, "Maximum number of passwords that a process checks at once; each check takes 46 MiB of memory."
    )
    max_waiting: int = setting(8, "Maximum number of log-ins that wait in a process to be checked; beyond it 503.")
    failures_per_minute_of_address: int = setting(
        10, "Failed log-ins a minute from one client address; beyond it log-ins from there get a 429 unchecked."
    )
    failures_per_minute_of_name: int = setting(
        20, "Failed log-ins a minute with one user name from all addresses; beyond it they get a 429 unchecked."
    )


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Requests and their bodies."""

    max_events: int = setting(1000, "Maximum number of events in one request; beyond it 413.")
    max_bytes: int = setting(
        1024 * 1024, "Maximum size of a request body, compressed and uncompressed alike; beyond it 413."
    )
    explain_max_values: int = setting(
        100_000,
        "Maximum number of JSON values searched for the reason why events of a request are invalid; beyond it the"
        " answer names no field, or is a 400.",
    )
    discard_bytes: int = setting(
        16 * 1024 * 1024,
        "Bytes of an oversized request body that are still read and discarded so that the client sees the 413; beyond"
        " it the connection is closed.",
    )
    body_seconds: float = setting(10.0, "Time within which a client must have sent its request body; then 408.")
    bodies_held_max_bytes: int = setting(
        64 * 1024 * 1024,
        "Maximum memory of a process for request bodies that are not complete yet; beyond it the request whose body"
        " began first gets a 408.",
    )
