"""`manage.py recount`: rebuild aggregates from raw events, show the difference, apply it when asked to."""

import getpass
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from clusterproxy.errors import ClusterProxyError
from shardproxy.errors import ShardProxyError
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.processing.models import RecountJob, RecountState
from viewcounter.processing.recount_jobs import create_partition_recount, create_video_recount, encode_job, run_recount
from viewcounter.storage.errors import PartitionBeingMoved


class Command(BaseCommand):
    help = (
        "Compare the aggregates of a video or of a whole partition with its raw events, as far back as these are kept, "
        "and show what differs. With --apply, correct it; every correction is recorded."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        target = parser.add_mutually_exclusive_group(required=True)
        target.add_argument("--video", metavar="ID")
        target.add_argument("--partition", type=int, metavar="P")
        parser.add_argument("--apply", action="store_true", help="correct what differs")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, **options: Any) -> None:
        cluster, actor = get_cluster(), f"{getpass.getuser()} (manage.py)"
        if options["video"] is not None:
            job = create_video_recount(cluster, options["video"], apply=options["apply"], actor=actor)
        elif 0 <= options["partition"] < cluster.topology.partition_count:
            job = create_partition_recount(options["partition"], apply=options["apply"], actor=actor)
        else:
            raise CommandError(f"--partition must be 0 to {cluster.topology.partition_count - 1}")
        try:
            run_recount(cluster, job.pk, config=get_config(), budget_seconds=None)
        except (ClusterProxyError, ShardProxyError, PartitionBeingMoved) as error:
            raise CommandError(f"recount {job.pk} waits, a worker goes on with it: {error}") from error
        job.refresh_from_db()
        if options["json"]:
            self.stdout.write(json.dumps(encode_job(job), default=str))
        else:
            self._print(job)
        if job.state == RecountState.FAILED:
            raise CommandError(job.error)

    def _print(self, job: RecountJob) -> None:
        for row in job.differences:
            place = f"{row['video_id']}, event type {row['event_type_id']}, {row['start'] or 'all time'}"
            self.stdout.write(f"{row['tier']:6} {place}: {_describe(row['found'])} -> {_describe(row['expected'])}")
        counts = ", ".join(f"{count} {tier}s" for tier, count in job.difference_counts.items()) or "nothing"
        verb = "corrected" if job.apply else "differing"
        self.stdout.write(f"recount {job.pk}: {job.videos_done} videos of partition {job.partition}, {verb}: {counts}")


def _describe(figures: dict[str, int] | None) -> str:
    if figures is None:
        return "none"
    return " ".join(f"{name}={figures[name]}" for name in ("count", "sum", "min", "max"))
