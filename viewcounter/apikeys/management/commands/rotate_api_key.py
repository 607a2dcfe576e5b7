"""`manage.py rotate_api_key PREFIX`: create the successor of a key; both work for a while."""

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import CommandError

from commandline.command import OperatorCommand, Subject
from viewcounter.apikeys.errors import UnknownKey


class Command(OperatorCommand):
    subject = Subject.KEYS
    help = (
        "Replace an API key by a new one and print it. The new one has its rights and limits; the old one goes on "
        "working for a while."
    )
    examples = ("manage.py rotate_api_key db6745ebef25 --overlap-hours 48",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("prefix", metavar="PREFIX", help="the visible part of the old key: vc_PREFIX_…")
        parser.add_argument(
            "--overlap-hours",
            type=float,
            default=24.0,
            metavar="HOURS",
            help="hours until the old key expires (default: %(default)g)",
        )
        parser.add_argument("--quiet", action="store_true", help="print only the key")

    def handle(self, *_args: Any, **options: Any) -> None:
        from viewcounter.apikeys.keys import rotate_key

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
        self.stdout.write(f"Key for {key.name}; {options['prefix']} ends in {overlap}. It is shown only once:\n{token}")
