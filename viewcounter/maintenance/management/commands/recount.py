"""`manage.py recount`: rebuild aggregates from raw events, show the differences, and correct them with --apply."""

import getpass
import json
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError, CommandParser

from clusterproxy.errors import ClusterProxyError
from commandline.command import OperatorCommand, Subject
from shardproxy.errors import ShardProxyError
from viewcounter.storage.errors import PartitionBeingMoved

if TYPE_CHECKING:
    from viewcounter.maintenance.models import RecountJob


class Command(OperatorCommand):
    subject = Subject.DATA
    help = (
        "Rebuild aggregates of a video or a partition from raw events and compare. Reaches back as far as raw events "
        "are kept and shows the differences. With --apply, corrects them; every correction is recorded."
    )

    examples = ("manage.py recount --video XpVt6Z1Gjjo", "manage.py recount --partition 3 --apply")

    def add_arguments(self, parser: CommandParser) -> None:
        target = parser.add_mutually_exclusive_group(required=True)
        target.add_argument("--video", metavar="ID", help="only this video")
        target.add_argument("--partition", type=int, metavar="N", help="every video of this partition")
        parser.add_argument("--apply", action="store_true", help="correct the differences")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, **options: Any) -> None:
        from viewcounter.cluster import get_cluster
        from viewcounter.config import get_config
        from viewcounter.maintenance import recount_jobs
        from viewcounter.maintenance.models import RecountState

        cluster, actor = get_cluster(), f"{getpass.getuser()} (manage.py)"
        if options["video"] is not None:
            job = recount_jobs.create_video_recount(cluster, options["video"], apply=options["apply"], actor=actor)
        elif 0 <= options["partition"] < cluster.topology.partition_count:
            job = recount_jobs.create_partition_recount(options["partition"], apply=options["apply"], actor=actor)
        else:
            raise CommandError(f"--partition must be 0 to {cluster.topology.partition_count - 1}")
        try:
            recount_jobs.run_recount(cluster, job.pk, settings=get_config().recount, budget_seconds=None)
        except (ClusterProxyError, ShardProxyError, PartitionBeingMoved) as error:
            raise CommandError(f"recount {job.pk} waits; a worker continues it: {error}") from error
        job.refresh_from_db()
        if options["json"]:
            self.stdout.write(json.dumps(recount_jobs.encode_job(job), default=str))
        else:
            self._print(job)
        if job.state == RecountState.FAILED:
            raise CommandError(job.error)

    def _print(self, job: "RecountJob") -> None:
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
