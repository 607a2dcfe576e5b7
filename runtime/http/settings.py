"""Settings of the HTTP server."""

from dataclasses import dataclass

from runtime.settings import setting


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Heads of requests."""

    seconds: float = setting(
        10.0,
        "Time within which a client must have sent the head of a request, counted from the connection or from the first"
        " byte of a further request; then the connection is closed.",
    )
    max_bytes: int = setting(32_768, "Maximum size of the request line and the headers together; beyond it 431.")
    max_headers: int = setting(100, "Maximum number of headers of a request; beyond it 431.")
