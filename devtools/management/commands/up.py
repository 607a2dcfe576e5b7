"""`manage.py up`: start the local cluster."""

import argparse
import os
from typing import Any

from commandline.command import OperatorCommand, Subject


class Command(OperatorCommand):
    subject = Subject.RUN
    help = "Start the local cluster: databases, logs and every process of ours. Ctrl-C stops all of it."
    examples = ("bin/up", "bin/up --detach", "bin/up --control-replicas 2", "bin/down")
    needs_apps = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--detach", action="store_true", help="return when everything is ready; bin/down stops it")
        parser.add_argument(
            "--control-replicas",
            type=int,
            metavar="N",
            help="run the control database under Patroni, as one leader and this number of replicas (even); the first "
            "start of a cluster decides (default: VIEWCOUNTER_LOCAL_CONTROL_REPLICAS, or 0)",
        )
        parser.add_argument("--supervisor", action="store_true", help=argparse.SUPPRESS)  # of --detach itself

    def handle(self, **options: Any) -> None:
        from devtools.local.up_command import run_up

        if options["control_replicas"] is not None:
            os.environ["VIEWCOUNTER_LOCAL_CONTROL_REPLICAS"] = str(options["control_replicas"])
        run_up(is_detached=options["detach"], is_supervisor=options["supervisor"], write=self.stdout.write)
