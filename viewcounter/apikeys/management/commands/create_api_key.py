"""`manage.py create_api_key NAME --scopes events:write,stats:read`: create an API key and show it once."""

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from commandline.command import OperatorCommand, Subject
from viewcounter.apikeys.scopes import KeyKind, Scope, parse_scopes

LIMIT_HELP = "limit over all processes (default: none; for a public key VIEWCOUNTER_PUBLIC_KEY_..._PER_SECOND)"


class Command(OperatorCommand):
    subject = Subject.KEYS
    help = "Create an API key and print it. It cannot be shown again."
    examples = (
        "manage.py create_api_key reports --scopes stats:read",
        "manage.py create_api_key site --public --origin https://www.example.com",
        "manage.py create_api_key team --link --expires-in-days 90",
        "manage.py create_api_key site --public --scopes counts:public --origin https://www.example.com",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="who will use the key")
        parser.add_argument(
            "--scopes",
            metavar="SCOPE,SCOPE",
            help=f"what the key may do, of: {', '.join(scope.value for scope in Scope)}",
        )
        parser.add_argument(
            "--public",
            action="store_true",
            help="key for web pages: not a secret, sends events, or reads counts with --scopes counts:public",
        )
        parser.add_argument(
            "--link", action="store_true", help="reading token: print the path of a page of counts that people may open"
        )
        parser.add_argument(
            "--origin",
            action="append",
            default=[],
            metavar="ORIGIN",
            help="origin of the pages that use a public key, such as https://www.example.com; repeatable",
        )
        parser.add_argument("--requests-per-second", type=int, metavar="N", help=LIMIT_HELP)
        parser.add_argument("--events-per-second", type=int, metavar="N", help=LIMIT_HELP)
        parser.add_argument(
            "--expires-in-days", type=int, metavar="DAYS", help="days until the key expires (default: never)"
        )
        parser.add_argument("--quiet", action="store_true", help="print only the key")

    def handle(self, *_args: Any, **options: Any) -> None:
        from viewcounter.apikeys.keys import create_key

        try:
            kind = _get_kind(is_public=options["public"], is_link=options["link"])
            scopes = _get_scopes(options["scopes"], kind=kind)
            key, token = create_key(
                options["name"],
                scopes,
                expires_at=_get_expiry(options["expires_in_days"]),
                kind=kind,
                allowed_origins=options["origin"],
                requests_per_second=options["requests_per_second"],
                events_per_second=options["events_per_second"],
            )
        except ValidationError as error:
            raise CommandError(describe(error)) from error
        except ValueError as error:
            raise CommandError(f"--scopes: {error}") from error
        shown = f"/videos/?link={token}" if kind is KeyKind.LINK else token
        if options["quiet"]:
            self.stdout.write(shown)
            return
        self.stdout.write(f"Key for {key.name} with {', '.join(scopes)}. It is shown only once:\n{shown}")


def _get_kind(*, is_public: bool, is_link: bool) -> KeyKind:
    if is_public and is_link:
        raise CommandError("--public and --link: a key is one or the other")
    return KeyKind.PUBLIC if is_public else KeyKind.LINK if is_link else KeyKind.SECRET


def _get_scopes(text: str | None, *, kind: KeyKind) -> list[Scope]:
    """Raises ValueError. The scope of a public key that sends events may be omitted, and that of a link."""
    usual = {KeyKind.PUBLIC: Scope.EVENTS_WRITE, KeyKind.LINK: Scope.STATS_READ}.get(kind)
    return [usual] if usual is not None and text is None else parse_scopes(text or "")


def _get_expiry(days: int | None) -> datetime | None:
    if days is None:
        return None
    if days < 1:
        raise CommandError("--expires-in-days: must be at least 1")
    return datetime.now(UTC) + timedelta(days=days)


def describe(error: ValidationError) -> str:
    """Every fault with its field."""
    if not hasattr(error, "error_dict"):
        return "; ".join(error.messages)
    return "; ".join(f"{field}: {' '.join(messages)}" for field, messages in error.message_dict.items())
