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
            scopes = _get_scopes(options["scopes"], is_public=options["public"])
            key, token = create_key(
                options["name"],
                scopes,
                expires_at=_get_expiry(options["expires_in_days"]),
                kind=KeyKind.PUBLIC if options["public"] else KeyKind.SECRET,
                allowed_origins=options["origin"],
                requests_per_second=options["requests_per_second"],
                events_per_second=options["events_per_second"],
            )
        except ValidationError as error:
            raise CommandError(describe(error)) from error
        except ValueError as error:
            raise CommandError(f"--scopes: {error}") from error
        if options["quiet"]:
            self.stdout.write(token)
            return
        self.stdout.write(f"Key for {key.name} with {', '.join(scopes)}. It is shown only once:\n{token}")


def _get_scopes(text: str | None, *, is_public: bool) -> list[Scope]:
    """Raises ValueError. The scope of a public key that sends events may be omitted."""
    return [Scope.EVENTS_WRITE] if is_public and text is None else parse_scopes(text or "")


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
