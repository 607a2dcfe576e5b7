"""`manage.py status`: processes, databases, shards and the lag of drains."""

import argparse
import sys
from typing import Any

from commandline.command import OperatorCommand, Subject


class Command(OperatorCommand):
    subject = Subject.RUN
    help = (
        "Show each process, database and shard of the local cluster. Exit status: 0 if all are healthy, 3 if not, 1 if "
        "the cluster does not run."
    )
    examples = ("bin/status", "bin/status --json")
    needs_apps = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, **options: Any) -> None:
        from devtools.status.command import run_status

        sys.exit(run_status(as_json=options["json"], stdout=self.stdout))
