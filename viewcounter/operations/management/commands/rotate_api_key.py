"""`manage.py rotate_api_key PREFIX`: make the key that follows another one; both work for a while."""

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from viewcounter.gateway.errors import UnknownKey
from viewcounter.gateway.keys import rotate_key


class Command(BaseCommand):
    help = "Make a key with the rights and limits of another one and print it; the old one goes on working for a while."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("prefix", help="the visible part of the old key: vc_PREFIX_…")
        parser.add_argument(
            "--overlap-hours", type=float, default=24.0, help="the old key ends after this (default: %(default)s)"
        )
        parser.add_argument("--quiet", action="store_true", help="print only the key")

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["overlap_hours"] < 0:
            raise CommandError("--overlap-hours: must not be negative")
        overlap = timedelta(hours=options["overlap_hours"])
        try:
            key, token = rotate_key(options["prefix"], overlap=overlap, now=datetime.now(UTC))
        except UnknownKey as error:
            raise CommandError(str(error)) from error
        if options["quiet"]:
            self.stdout.write(token)
            return
        self.stdout.write(f"Key for {key.name}; {options['prefix']} ends in {overlap}. It is shown only now:\n{token}")
