"""What an API key may do. No scope implies another."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Scope(StrEnum):
    EVENTS_WRITE = "events:write"
    STATS_READ = "stats:read"
    COUNTS_PUBLIC = "counts:public"
    ADMIN = "admin"


PUBLIC_SCOPES = frozenset({Scope.EVENTS_WRITE, Scope.COUNTS_PUBLIC})
"""What a key that everybody may have can do."""


class KeyKind(StrEnum):
    """The holder of a key: a program that keeps it secret, a web page, whose visitors all see it, or a link, which
    people open in a browser."""

    SECRET = "secret"  # noqa: S105
    PUBLIC = "public"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class AuthenticatedKey:
    """A key that was valid when it was looked up. `expires_at` is checked again at every use.

    Limits apply to all processes together; None means no limit. Only a public key has `allowed_origins`.
    `unconfirmed_scopes`: scopes of the key that the control database has not confirmed for too long.
    """

    prefix: str
    name: str
    scopes: frozenset[Scope]
    expires_at: datetime | None = None
    requests_per_second: int | None = None
    events_per_second: int | None = None
    is_public: bool = False
    allowed_origins: frozenset[str] = frozenset()
    unconfirmed_scopes: frozenset[Scope] = frozenset()


def parse_scopes(text: str) -> list[Scope]:
    """From `events:write,stats:read`. Raises ValueError that names an unknown scope, or for an empty list."""
    scopes = [Scope(part.strip()) for part in text.split(",") if part.strip()]
    if not scopes:
        raise ValueError("at least one scope is needed")
    return list(dict.fromkeys(scopes))
