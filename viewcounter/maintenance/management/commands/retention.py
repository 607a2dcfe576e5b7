"""`manage.py retention`: delete data past its retention now, or show what would be deleted."""

import math
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError, CommandParser

from clusterproxy.errors import ClusterProxyError
from commandline.command import OperatorCommand, Subject
from runtime.prompts import confirm
from shardproxy.errors import ShardProxyError
from viewcounter.maintenance.partition_choice import add_partition_arguments, get_partitions
from viewcounter.processing.errors import DrainError
from viewcounter.storage.errors import StorageError

if TYPE_CHECKING:
    from clusterproxy.proxy import ClusterProxy
    from viewcounter.maintenance.settings import RetentionSettings


class Command(OperatorCommand):
    subject = Subject.DATA
    help = (
        "Delete data past its retention. That is minutes, hours, ids and conflicts of some partitions, and days of raw "
        "events, unless a rollup, a sketch or a late event still needs them. Celery does the same periodically; "
        "running both is harmless."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_partition_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="show what would be deleted and delete nothing")
        parser.add_argument(
            "--accept-clock",
            action="store_true",
            help="first set the deletion clocks to the shards' present time: after a long outage, and only when you "
            "have checked the clocks of all machines",
        )
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    def handle(self, *args: Any, **options: Any) -> None:
        from viewcounter.cluster import get_cluster
        from viewcounter.config import get_config
        from viewcounter.maintenance.checks import RETENTION
        from viewcounter.maintenance.retention import drop_old_raw_days, find_old_raw_days_of

        self.check(tags=[RETENTION])
        cluster = get_cluster()
        if options["accept_clock"]:
            self._accept_clock(cluster, confirmed=options["yes"])
        policy = replace(get_config().retention, budget_seconds=math.inf)
        work = self._show if options["dry_run"] else self._remove
        partitions = get_partitions(options, partition_count=cluster.topology.partition_count)
        failed = []
        for partition in partitions:
            try:
                work(cluster, partition, policy)
            except (ClusterProxyError, ShardProxyError, StorageError, DrainError) as error:
                failed.append(partition)
                self.stderr.write(f"partition {partition}: {error}")
        if options["dry_run"]:
            for shard in cluster.topology.shards:
                names = find_old_raw_days_of(cluster, shard, policy=policy)
                self.stdout.write(f"{shard.name}: would drop {', '.join(names) or 'no day of raw events'}")
        else:
            drop_old_raw_days(cluster, policy=policy)
        if failed:
            raise CommandError(f"retention failed on {len(failed)} of {len(partitions)} partitions: {failed}")

    def _accept_clock(self, cluster: "ClusterProxy", *, confirmed: bool) -> None:
        """Shard by shard. Raises CommandError at the first failure and leaves the remaining shards unchanged."""
        from viewcounter.storage.deletion_clock import accept_deletion_clock, read_deletion_clock

        for shard in cluster.topology.shards:
            try:
                with cluster.shard_transaction(shard.id) as connection:
                    clock = read_deletion_clock(connection)
                self.stdout.write(f"{shard.name}: ages count {clock.behind_seconds / 3600:.1f} hours behind its clock")
                if not confirmed:
                    confirm(f"Is the clock of {shard.name} right?")
                with cluster.shard_transaction(shard.id) as connection:
                    accept_deletion_clock(connection)
            except (ClusterProxyError, ShardProxyError) as error:
                raise CommandError(f"{shard.name}: {error}") from error

    def _show(self, cluster: "ClusterProxy", partition: int, policy: "RetentionSettings") -> None:
        from viewcounter.maintenance.retention import read_plan

        state, planned = read_plan(cluster, partition, policy=policy)
        edges = (
            ("ids of events", state.admits_since, planned.admits_since),
            ("minutes", state.minutes_since, planned.minutes_since),
            ("hours", state.hours_since, planned.hours_since),
        )
        moves = [f"{name} before {_show_time(new)} (now {_show_time(old)})" for name, old, new in edges if new > old]
        self.stdout.write(f"partition {partition}: would remove {', '.join(moves) or 'nothing'}")

    def _remove(self, cluster: "ClusterProxy", partition: int, policy: "RetentionSettings") -> None:
        from viewcounter.maintenance.retention import retain_partition

        report = retain_partition(cluster, partition, policy=policy)
        self.stdout.write(
            f"partition {partition}: removed {report.minute_count} minutes, {report.hour_count} hours, "
            f"{report.id_row_count} rows of ids, {report.dead_letter_count} resolved dead letters, "
            f"{report.conflict_count} conflicts"
        )


def _show_time(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%MZ}"
