"""`manage.py demo`: start the local cluster, replay the real sample, show that every count is exact."""

import argparse
from typing import Any

from commandline.command import OperatorCommand, Subject
from devtools.replay.arguments import add_replay_arguments


class Command(OperatorCommand):
    subject = Subject.TRY
    help = (
        "Start the local cluster, replay real events and compare every count. The sample is of real videos, and the "
        "correct counts are known. Stays up until Ctrl-C; a cluster that already runs is used and left running."
    )
    examples = ("bin/demo", "bin/demo --exit --scale 50000")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--exit", action="store_true", help="stop after the report; status 0 only if all are exact")
        add_replay_arguments(parser)

    def handle(self, **options: Any) -> None:
        from devtools.local.demo_command import run_demo

        run_demo(options)
