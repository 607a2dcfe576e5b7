"""Host and HTTPS checks, as Django makes them, for the requests that are answered in front of Django.

Django redirects a request that came by plain HTTP. A post of events is refused instead: its key could be read on the
way, and a client that follows the redirect would never learn of it.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.http.request import split_domain_port, validate_host

from runtime.http.errors import Rejected
from runtime.http.problems import Problem
from viewcounter.web.request import CLOSE, Head
from viewcounter.web.settings import SiteSettings

UNKNOWN_HOST = Problem(
    400,
    "unknown_host",
    "The Host header names no host of this service. Its operator lists them in VIEWCOUNTER_SITE_ALLOWED_HOSTS.",
)
_HTTPS_REQUIRED = Problem(
    403,
    "https_required",
    "Events are taken by HTTPS only; nothing was stored. A key that was sent by plain HTTP could be read: replace it.",
)
_HOSTS_KNOWN = 256


class Site:
    """What `settings` demand of a request."""

    def __init__(self, settings: SiteSettings) -> None:
        self.settings = settings

    def is_known_host(self, host: bytes | None) -> bool:
        """As HttpRequest.get_host validates a Host header."""
        return host is not None and _is_allowed_host(host, self.settings.allowed_hosts)

    def is_secure(self, scope: Mapping[str, Any], forwarded_proto: bytes | None) -> bool:
        """As Django does by SECURE_PROXY_SSL_HEADER."""
        if self.settings.behind_tls_proxy and forwarded_proto is not None:
            return forwarded_proto.split(b",", 1)[0].strip() == b"https"
        return bool(scope.get("scheme") == "https")

    def is_acceptable(self, scope: Mapping[str, Any], head: Head) -> bool:
        """False: Django would answer 400, or redirect to HTTPS."""
        is_secure = not self.settings.https_only or self.is_secure(scope, head.forwarded_proto)
        return is_secure and self.is_known_host(head.host)

    def check(self, scope: Mapping[str, Any], head: Head) -> None:
        """Raises Rejected (400, 403). Checked before the key: the database is not queried for a refused request."""
        if not self.is_known_host(head.host):
            raise Rejected(UNKNOWN_HOST, headers=CLOSE)
        if self.settings.https_only and not self.is_secure(scope, head.forwarded_proto):
            raise Rejected(_HTTPS_REQUIRED, headers=CLOSE)


@lru_cache(_HOSTS_KNOWN)
def _is_allowed_host(host: bytes, allowed_hosts: tuple[str, ...]) -> bool:
    domain, _ = split_domain_port(host.decode("latin-1"))
    return bool(domain) and validate_host(domain, allowed_hosts)
