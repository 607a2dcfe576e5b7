"""`manage.py audit`: compare ledger, raw events and aggregates."""

from typing import Any

from django.core.management.base import CommandParser

from commandline.command import OperatorCommand, Subject


class Command(OperatorCommand):
    subject = Subject.DATA
    help = (
        "Compare ledger, raw events and aggregates of the last hours. All-time totals are compared with the sum of the "
        "tiers. Changes nothing but the list of findings. Exit status: 1 when something differs, 2 when a partition "
        "could not be compared."
    )
    examples = ("manage.py audit", "manage.py audit --hours 168 --partition 3 --json")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--hours",
            type=int,
            default=24,
            metavar="N",
            help="number of hours, with the current one (default: 24)",
        )
        parser.add_argument("--partition", type=int, metavar="N", help="only this partition (default: all)")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, **options: Any) -> None:
        from viewcounter.maintenance.audit_command import run_audit

        run_audit(options, stdout=self.stdout)
