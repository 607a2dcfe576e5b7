"""`manage.py prepare`: turn empty databases into a cluster that can serve."""

import argparse
from pathlib import Path
from typing import Any, ClassVar

from commandline.command import OperatorCommand, Subject


class Command(OperatorCommand):
    subject: ClassVar[Subject | None] = Subject.CLUSTER
    help = (
        "Turn empty databases into a cluster that can serve. Migrates the control database, records the shards and "
        "their addresses, migrates every shard, and creates the administrator if there is none. Safe to repeat."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--partitions", type=int, required=True, metavar="N", help="partition count of a new cluster"
        )
        parser.add_argument(
            "--instances", type=Path, required=True, metavar="FILE", help="JSON file naming shards and instances"
        )
        parser.add_argument("--set-roles", action="store_true", help="see init_cluster")
        parser.add_argument(
            "--admin-password-file",
            type=Path,
            metavar="FILE",
            help="password of a new administrator (default: secrets/admin_password of the state folder)",
        )

        parser.add_argument(
            "--wait-seconds",
            type=float,
            default=0.0,
            metavar="SECONDS",
            help="how long to wait for databases that are starting (default: no wait)",
        )

    def handle(self, **options: Any) -> None:
        from viewcounter.config import get_config
        from viewcounter.controlplane.preparation import prepare_cluster
        from viewcounter.maintenance.checks import RETENTION

        state_dir = get_config().state_dir
        self.check(tags=[RETENTION])
        prepare_cluster(
            partitions=options["partitions"],
            instances=options["instances"],
            set_roles=options["set_roles"],
            admin_password_file=options["admin_password_file"] or state_dir / "secrets" / "admin_password",
            wait_seconds=options["wait_seconds"],
            stdout=self.stdout,
            stderr=self.stderr,
        )
