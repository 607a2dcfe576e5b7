"""`manage.py rollup`: roll up some partitions now, until no bucket is due."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError, CommandParser

from clusterproxy.errors import ClusterProxyError
from commandline.command import OperatorCommand, Subject
from shardproxy.errors import ShardProxyError
from viewcounter.maintenance.partition_choice import add_partition_arguments, get_partitions
from viewcounter.processing.errors import DrainError
from viewcounter.storage.errors import StorageError

if TYPE_CHECKING:
    from viewcounter.maintenance.rollup import RollupReport

_PROGRESS_EVERY = 24


class Command(OperatorCommand):
    subject = Subject.DATA
    help = (
        "Roll minutes up to hours and days. Rolls up to the last hour that the watermark has passed, and replaces "
        "dirty buckets. Celery does the same periodically; running both is harmless, and the command may be "
        "interrupted and repeated."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_partition_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        from viewcounter.cluster import get_cluster
        from viewcounter.config import get_config
        from viewcounter.maintenance.rollup import roll_partition

        cluster = get_cluster()
        settings = replace(get_config().rollup, budget_seconds=math.inf)
        failed = []
        partitions = get_partitions(options, partition_count=cluster.topology.partition_count)
        for partition in partitions:
            try:
                report = roll_partition(cluster, partition, settings=settings, progress=self._show_progress)
            except (ClusterProxyError, ShardProxyError, StorageError, DrainError) as error:
                failed.append(partition)
                self.stderr.write(f"partition {partition}: {error}")
            else:
                self.stdout.write(_describe(report))
        if failed:
            raise CommandError(f"rollup failed on {len(failed)} of {len(partitions)} partitions: {failed}")

    def _show_progress(self, report: "RollupReport") -> None:
        if report.hour_count and report.hour_count % _PROGRESS_EVERY == 0:
            self.stderr.write(f"  {_describe(report)}")


def _describe(report: "RollupReport") -> str:
    return (
        f"partition {report.partition}: rolled through {report.rolled_through:%Y-%m-%dT%H:%MZ}; "
        f"{report.hour_count} hours, {report.day_count} days, "
        f"{report.dirty_hour_count} dirty hours, {report.dirty_day_count} dirty days"
    )
