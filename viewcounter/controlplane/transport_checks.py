"""Deployment checks (`manage.py check --deploy`) of TLS on connections to servers on other machines."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.core.checks import CheckMessage, Warning

from configservice.topology.model import is_loopback
from viewcounter.config import Config, get_config


def check_transport(**_options: Any) -> list[CheckMessage]:
    """Django system check with the tag `security`, for deployments only."""
    return list(find_plain_transports(get_config()))


def find_plain_transports(config: Config) -> Iterator[CheckMessage]:
    """Warnings for servers on other machines that are reached without TLS, or without verifying their certificate."""
    for name, url in (("LOG", config.log.url), ("BROKER", config.broker.url), ("CACHE", config.cache.url)):
        parts = urlsplit(url.get_secret_value())
        if is_loopback(parts.hostname or ""):
            continue
        setting = f"VIEWCOUNTER_{name}_URL"
        if parts.scheme != "rediss":
            yield Warning(
                f"{setting} reaches {parts.hostname} without TLS: passwords and events can be read on the network.",
                hint="Use rediss:// (docs/operations/tls.md).",
                id="viewcounter.W001",
            )
        elif parse_qs(parts.query).get("ssl_cert_reqs", ["required"])[-1].lower() not in ("required", "cert_required"):
            yield Warning(
                f"{setting} does not verify the certificate of {parts.hostname}.",
                hint="Leave out ssl_cert_reqs, and name the certificate authority by ssl_ca_certs.",
                id="viewcounter.W002",
            )
    if not is_loopback(config.control_database.host) and config.control_database.sslmode != "verify-full":
        yield Warning(
            f"VIEWCOUNTER_CONTROL_DATABASE_SSLMODE is {config.control_database.sslmode}: the control database at "
            f"{config.control_database.host} does not have to prove its name.",
            hint="Use verify-full and VIEWCOUNTER_CONTROL_DATABASE_TLS_ROOT_CERTIFICATE.",
            id="viewcounter.W003",
        )
