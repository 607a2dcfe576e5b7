"""`manage.py replay`: send the real sample as single events, then compare every count with the truth."""

import argparse
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.db import DatabaseError

from commandline.command import OperatorCommand, Subject
from devtools.replay.arguments import add_replay_arguments
from viewcounter.commands.stop_signals import INTERRUPTED_STATUS

if TYPE_CHECKING:
    from devtools.settings import DevtoolsConfig


class Command(OperatorCommand):
    subject = Subject.TRY
    help = "Replay real events over HTTP and compare every count with the truth. Status 0 only if all are exact."
    examples = ("manage.py replay --scale 50000", "manage.py replay --url https://counts.example.com --key vc_…")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--url", metavar="URL", help="address of the service (default: the local cluster)")
        parser.add_argument("--key", metavar="KEY", help="API key with all three scopes (default: a new one)")
        add_replay_arguments(parser)

    def handle(self, **options: Any) -> None:
        from devtools.replay.plan import read_replay_options
        from devtools.replay.session import run_and_report
        from devtools.settings import get_devtools_config

        config, now = get_devtools_config(), datetime.now(UTC)
        replay_options = read_replay_options(
            options,
            url=options["url"] or f"http://{config.web.bind}",
            key=options["key"] or _create_key(config, now=now),
        )
        try:
            is_exact = run_and_report(replay_options, config=config, now=now, as_json=options["json"])
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED_STATUS)
        if not is_exact:
            sys.exit(1)


def _create_key(config: "DevtoolsConfig", *, now: datetime) -> str:
    from devtools.replay.keys import create_replay_key

    try:
        return create_replay_key(now=now, valid_seconds=config.replay.seconds)
    except DatabaseError as error:
        message = f"cannot create an API key without the control database; start a cluster with bin/up ({error})"
        raise CommandError(message) from error
