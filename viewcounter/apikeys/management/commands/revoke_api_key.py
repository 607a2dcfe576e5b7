"""`manage.py revoke_api_key PREFIX`: revoke a key in every process, within seconds."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError

from commandline.command import OperatorCommand, Subject
from viewcounter.apikeys.errors import UnknownKey


class Command(OperatorCommand):
    subject = Subject.KEYS
    help = "Revoke an API key. It is never valid again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("prefix", metavar="PREFIX", help="the visible part of the key: vc_PREFIX_…")

    def handle(self, *_args: Any, **options: Any) -> None:
        from viewcounter.apikeys.keys import revoke_key
        from viewcounter.config import get_config

        try:
            key = revoke_key(options["prefix"], now=datetime.now(UTC))
        except UnknownKey as error:
            raise CommandError(str(error)) from error
        seconds = get_config().api_key.cache_seconds
        self.stdout.write(f"Revoked {key}. Every process refuses it within {seconds:g} s.")
