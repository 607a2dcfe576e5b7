"""`manage.py restore_topology`: publish the topology from a control database that was lost or restored."""

import getpass
from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.db import DatabaseError

from commandline.command import OperatorCommand, Subject
from configservice.errors import ConfigServiceError

if TYPE_CHECKING:
    from viewcounter.controlplane.restoration import Restoration


class Command(OperatorCommand):
    subject = Subject.CLUSTER
    help = (
        "Rebuild the topology of a control database that was lost. The database was restored from a backup, or is "
        "empty and migrated. Roles, terms and the places of partitions are read from the shards; everything else comes "
        "from the newest signed topology that the control database, the cache, the state folder or --topology has. "
        "Every process then takes the result, whatever it knew before. Shows the plan; only --apply changes anything. "
        "Stop all config services before: docs/operations/control-database-lost.md."
    )
    examples = (
        "manage.py restore_topology",
        "manage.py restore_topology --topology host2/topology.json --keys host2/api_keys",
        'manage.py restore_topology --apply --reason "the disk of control1 died"',
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--topology", type=Path, metavar="FILE", help="topology.json of the state folder of another host"
        )
        parser.add_argument(
            "--keys",
            type=Path,
            action="append",
            default=[],
            metavar="FILE",
            help="api_keys of the state folder of a gateway; may be repeated (default: that of this host)",
        )
        parser.add_argument(
            "--accept-unread",
            action="append",
            default=[],
            metavar="SHARD",
            help="let the topology decide about a shard of which no instance answers; may be repeated",
        )
        parser.add_argument("--apply", action="store_true", help="carry the plan out")
        parser.add_argument("--reason", default="", metavar="TEXT", help="reason, for the history")

    def handle(self, **options: Any) -> None:
        from viewcounter.apikeys.errors import KeyFileRefused, NoKeyFile
        from viewcounter.config import get_config
        from viewcounter.controlplane.preparation import has_migrations_to_apply
        from viewcounter.controlplane.restoration import apply_restoration, plan

        try:
            if has_migrations_to_apply():
                raise CommandError("the control database lacks tables of this release: run `manage.py migrate`")
            restoration = plan(
                get_config(),
                file=options["topology"],
                key_files=options["keys"],
                unread_shards=options["accept_unread"],
            )
            self._show(restoration)
            if not options["apply"]:
                self.stdout.write("nothing was changed; --apply carries this out")
                return
            actor = f"{getpass.getuser()} (manage.py restore_topology)"
            published = apply_restoration(restoration, reason=options["reason"], actor=actor, warn=self.stderr.write)
        except (ConfigServiceError, KeyFileRefused, NoKeyFile, DatabaseError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"published {published.version}; every process takes it now. Start the config services.")

    def _show(self, restoration: "Restoration") -> None:
        document, topology = restoration.document, restoration.plan.topology
        self.stdout.write(f"from {document.place}: {document.topology.version}, cluster {topology.cluster_id}")
        for text in restoration.list_changes():
            self.stdout.write(f"  {text}")
        for text in restoration.plan.warnings:
            self.stdout.write(f"warning: {text}")
        for text in restoration.list_losses():
            self.stdout.write(f"not restored: {text}")
