"""`manage.py sketch`: make the sketches of some partitions now, until none is due."""

import math
from dataclasses import replace
from typing import Any

from django.core.management.base import CommandError, CommandParser

from clusterproxy.errors import ClusterProxyError
from commandline.command import OperatorCommand, Subject
from shardproxy.errors import ShardProxyError
from viewcounter.maintenance.partition_choice import add_partition_arguments, get_partitions
from viewcounter.processing.errors import DrainError
from viewcounter.storage.errors import StorageError


class Command(OperatorCommand):
    subject = Subject.DATA
    help = (
        "Make the sketches of viewers and values. Covers every hour and day that is rolled up. Celery does the same "
        "periodically; running both is harmless, and the command may be interrupted and repeated."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_partition_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        from viewcounter.cluster import get_cluster
        from viewcounter.config import get_config
        from viewcounter.maintenance.sketching import sketch_partition

        cluster = get_cluster()
        settings = replace(get_config().sketch, budget_seconds=math.inf)
        failed = []
        partitions = get_partitions(options, partition_count=cluster.topology.partition_count)
        for partition in partitions:
            try:
                report = sketch_partition(cluster, partition, settings=settings)
            except (ClusterProxyError, ShardProxyError, StorageError, DrainError) as error:
                failed.append(partition)
                self.stderr.write(f"partition {partition}: {error}")
            else:
                self.stdout.write(
                    f"partition {partition}: {report.hour_count} sketches of hours, {report.day_count} of days, "
                    f"{report.unmade_count} could not be made"
                )
        if failed:
            raise CommandError(f"sketching failed on {len(failed)} of {len(partitions)} partitions: {failed}")
