"""`manage.py create_api_key NAME --scopes events:write,stats:read`: make an API key and show it once."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from viewcounter.gateway.keys import create_key
from viewcounter.gateway.scopes import Scope, parse_scopes


class Command(BaseCommand):
    help = "Create an API key and print it. It cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="who will use the key")
        parser.add_argument(
            "--scopes", required=True, help=f"comma-separated, of: {', '.join(scope.value for scope in Scope)}"
        )
        parser.add_argument("--quiet", action="store_true", help="print only the key")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            scopes = parse_scopes(options["scopes"])
            key, token = create_key(options["name"], scopes)
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        except ValueError as error:
            raise CommandError(f"--scopes: {error}") from error
        if options["quiet"]:
            self.stdout.write(token)
            return
        self.stdout.write(f"Key for {key.name} with {', '.join(scopes)}. It is shown only now:\n{token}")
