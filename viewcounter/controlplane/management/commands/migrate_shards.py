"""`manage.py migrate_shards`: migrate every shard to the schema of this release."""

import getpass
import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from clusterproxy.errors import ClusterProxyError
from commandline.command import OperatorCommand, Subject
from shardproxy.errors import ShardProxyError


class Command(OperatorCommand):
    subject = Subject.CLUSTER
    help = (
        "Create or upgrade the tables of every shard, one shard after the other. Also creates the rows of the "
        "partitions assigned to each shard, and the event log if there is none. Safe to repeat: a shard that is up to "
        "date is not changed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        from viewcounter.cluster import get_cluster
        from viewcounter.controlplane.shard_schema import ShardMigrationFailed, migrate_shards

        try:
            migrated = migrate_shards(get_cluster(), progress=self.stderr.write)
        except (ShardMigrationFailed, ClusterProxyError, ShardProxyError) as error:
            raise CommandError(str(error)) from error
        self._create_log()
        if options["json"]:
            self.stdout.write(json.dumps([asdict(shard) for shard in migrated]))
            return
        for shard in migrated:
            applied = ", ".join(shard.applied) or "up to date"
            self.stdout.write(f"{shard.shard}: {applied}; {shard.adopted_partition_count} partitions placed")

    def _create_log(self) -> None:
        """A failure is only reported, here and by `/readyz`: migrated shards are useful without a log."""
        from viewcounter.cluster import get_cluster
        from viewcounter.controlplane.event_log import LogRefused, create_log
        from viewcounter.eventlog.errors import EventLogError
        from viewcounter.eventlog.registry import get_event_log

        try:
            log_id = create_log(get_cluster(), get_event_log(), actor=f"{getpass.getuser()} (manage.py migrate_shards)")
        except (LogRefused, EventLogError, ClusterProxyError, ShardProxyError, DatabaseError) as error:
            self.stderr.write(f"the event log was not created: {error}")
        else:
            if log_id is not None:
                self.stderr.write(f"the event log is {log_id}")
