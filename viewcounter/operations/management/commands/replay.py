"""`manage.py replay`: send the real sample as single events, then compare every count with the truth."""

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from rich.console import Console

from viewcounter.config import Config, get_config
from viewcounter.operations.replay.arguments import add_replay_arguments, read_replay_options
from viewcounter.operations.replay.errors import ReplayError
from viewcounter.operations.replay.keys import create_replay_key
from viewcounter.operations.replay.progress import ReplayProgress
from viewcounter.operations.replay.report import encode_report, render_report
from viewcounter.operations.replay.run import run_replay

INTERRUPTED_STATUS = 130


class Command(BaseCommand):
    help = "Replay the sample of real videos over HTTP and compare every count with the truth. Exit 0 only if exact."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--url", help="where the service answers (default: the local cluster)")
        parser.add_argument("--key", help="an API key with all three scopes (default: one made for this run)")
        add_replay_arguments(parser)

    def handle(self, **options: Any) -> None:
        config, now = get_config(), datetime.now(UTC)
        replay_options = read_replay_options(
            options,
            url=options["url"] or f"http://{config.web_bind}",
            key=options["key"] or _create_key(config, now=now),
        )
        try:
            with ReplayProgress(sys.stderr) as progress:
                report = run_replay(replay_options, config=config, now=now, on_progress=progress)
        except ReplayError as error:
            raise CommandError(f"{type(error).__name__}: {error}") from error
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED_STATUS)
        if options["json"]:
            self.stdout.write(encode_report(report))
        else:
            Console(file=sys.stdout).print(render_report(report))
        if not report.is_exact:
            sys.exit(1)


def _create_key(config: Config, *, now: datetime) -> str:
    try:
        return create_replay_key(now=now, valid_seconds=config.replay_seconds)
    except DatabaseError as error:
        raise CommandError(
            f"no key given, and no control database to make one: start it with bin/up ({error})"
        ) from error
