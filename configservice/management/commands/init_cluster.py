"""`manage.py init_cluster`: create a cluster, or update its addresses; safe to repeat."""

import getpass
import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from commandline.command import OperatorCommand, Subject
from configservice.errors import ConfigServiceError

if TYPE_CHECKING:
    from configservice.join.initialisation import InitialisationReport

PARTITIONS_MAX = 4096


class Command(OperatorCommand):
    subject = Subject.CLUSTER
    help = "Record shards and instances from a file and publish them. The first run assigns partitions evenly."
    examples = ("manage.py init_cluster --partitions 32 --instances cluster.json",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--partitions",
            type=int,
            default=32,
            metavar="N",
            help="number of partitions, fixed when the cluster is created (default: %(default)d)",
        )
        parser.add_argument(
            "--instances", type=Path, required=True, metavar="FILE", help="JSON file that describes the servers"
        )
        parser.add_argument(
            "--set-roles",
            action="store_true",
            help="also set the roles of known instances (default: keep the roles that failovers gave them)",
        )
        parser.add_argument("--json", action="store_true", help="print the report as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        from configservice.join.initialisation import initialise_cluster
        from configservice.topology.cluster_file import read_cluster_file

        partition_count: int = options["partitions"]
        if not 1 <= partition_count <= PARTITIONS_MAX:
            raise CommandError(f"--partitions must be 1..{PARTITIONS_MAX}")
        try:
            description = read_cluster_file(options["instances"])
            _, report = initialise_cluster(
                description, partition_count=partition_count, set_roles=options["set_roles"], actor=_get_actor()
            )
        except ConfigServiceError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps(asdict(report)) if options["json"] else _describe(report))


def _get_actor() -> str:
    return f"{getpass.getuser()} (manage.py init_cluster)"


def _describe(report: "InitialisationReport") -> str:
    kept = f"; kept the roles of {', '.join(report.roles_kept)}" if report.roles_kept else ""
    if not report.published:
        return f"nothing to change, epoch {report.epoch}{kept}"
    return (
        f"published epoch {report.epoch}, VIEWCOUNTER_CLUSTER_ID={report.cluster_id}:"
        f" {len(report.shards_created)} shards and {len(report.instances_created)}"
        f" instances created, {len(report.instances_updated)} instances updated,"
        f" {report.partitions_assigned} partitions assigned, {len(report.event_types_created)} event types created"
        f"{kept}"
    )
