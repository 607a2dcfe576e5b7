"""TLS of Celery's broker. kombu reads `rediss://` without further parameters as TLS that verifies nobody."""

import ssl
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

_VERIFICATION = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}


def split_broker_url(url: str) -> tuple[str, dict[str, Any] | None]:
    """The address for Celery, and its `broker_use_ssl`: None for a broker without TLS.

    Takes the parameters that redis-py takes in the addresses of log and cache (`ssl_ca_certs`, `ssl_certfile`,
    `ssl_keyfile`, `ssl_cert_reqs`, `ssl_check_hostname`), with its defaults: certificate and name are verified.
    Raises ValueError for a value that means nothing.
    """
    parts = urlsplit(url)
    if parts.scheme != "rediss":
        return url, None
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    verification = query.pop("ssl_cert_reqs", "required").removeprefix("CERT_").lower()
    if verification not in _VERIFICATION:
        raise ValueError(f"ssl_cert_reqs is required, optional or none, not {verification!r}")
    check_hostname = query.pop("ssl_check_hostname", "true").lower() not in ("false", "0", "no")
    options: dict[str, Any] = {name: value for name, value in query.items() if name.startswith("ssl_")}
    options |= {
        "ssl_cert_reqs": _VERIFICATION[verification],
        "ssl_check_hostname": check_hostname and verification == "required",
    }
    return urlunsplit(parts._replace(query="")), options
