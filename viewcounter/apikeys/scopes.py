"""What an API key may do. No scope implies another."""

from enum import StrEnum


class Scope(StrEnum):
    EVENTS_WRITE = "events:write"
    STATS_READ = "stats:read"
    ADMIN = "admin"


class KeyKind(StrEnum):
    """Who holds a key: a program that keeps it to itself, or a web page that shows it to everybody."""

    SECRET = "secret"  # noqa: S105
    PUBLIC = "public"


def parse_scopes(text: str) -> list[Scope]:
    """From `events:write,stats:read`. Raises ValueError naming the unknown one, or for none at all."""
    scopes = [Scope(part.strip()) for part in text.split(",") if part.strip()]
    if not scopes:
        raise ValueError("at least one scope is needed")
    return list(dict.fromkeys(scopes))
