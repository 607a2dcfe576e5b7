"""`manage.py drill`: inject faults into a cluster of its own under load, and prove that every event counts once."""

import argparse
from pathlib import Path
from typing import Any

from commandline.command import OperatorCommand, Subject


class Command(OperatorCommand):
    subject = Subject.TRY
    help = (
        "Kill, freeze and lock servers under load, then compare every count. Uses a temporary cluster and a plan from "
        "a seed, and compares counts with the acknowledgements of clients. Status 0 only if the guarantee held. See "
        "docs/operations/drill.md."
    )
    examples = (
        "bin/drill --quick",
        "bin/drill --list",
        "bin/drill --minutes 10 --html drill.html",
        "bin/drill --minutes 10 --without broker,beat",
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--seed", type=int, metavar="N", help="seed of the plan (default: a new one, printed)")
        parser.add_argument(
            "--minutes", type=float, default=3.0, metavar="N", help="duration of the load (default: %(default)s)"
        )
        parser.add_argument("--quick", action="store_true", help="a fixed short plan, about 100 seconds in all")
        parser.add_argument("--faults", default="", metavar="A,B", help="only these kinds of faults (default: all)")
        parser.add_argument("--repeat", type=int, default=0, metavar="N", help="each of --faults N times, one by one")
        parser.add_argument(
            "--without",
            default="",
            metavar="A,B",
            help="parts that are dead all the time: beat, broker (also cache)",
        )
        parser.add_argument(
            "--control-replicas",
            type=int,
            default=0,
            metavar="N",
            help="run the control database under Patroni with this number of replicas (default: %(default)s)",
        )
        parser.add_argument(
            "--rate", type=int, default=1000, metavar="N", help="events a second (default: %(default)s)"
        )
        parser.add_argument("--list", action="store_true", help="print the kinds of faults and the plan only")
        parser.add_argument("--html", type=Path, metavar="FILE", help="write the time line as an HTML page")
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the report; - for stdout")
        parser.add_argument("--journal", type=Path, metavar="FOLDER", help="write every answer here, as JSON lines")

    def handle(self, **options: Any) -> None:
        from devtools.drill.command import run_drill_command

        run_drill_command(options, stdout=self.stdout, stderr=self.stderr)
