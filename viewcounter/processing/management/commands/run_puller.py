"""`manage.py run_puller`: pull events from the log to the shards until it is stopped."""

import argparse
import os
from typing import Any

from django.core.management.base import CommandError

from commandline.command import Subject
from viewcounter.commands.counting_command import CountingCommand


class Command(CountingCommand):
    subject = Subject.RUN
    help = (
        "Run a pull process, which counts the events of its share of the partitions. Any number may run; each Celery "
        "worker starts some. SIGTERM stops it."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--parent-fd", type=int, metavar="N", help="stop at the end of this open file; for a Celery worker's child"
        )

    def handle(self, **options: Any) -> None:
        from runtime.periodic import PeriodicTask
        from viewcounter.cluster import get_cluster
        from viewcounter.commands.stop_signals import StopSignals
        from viewcounter.config import get_config
        from viewcounter.processing.puller import PullProcess

        config, parent_fd = get_config(), options["parent_fd"]
        process = PullProcess(config, metrics_bind=config.pull.metrics_bind if parent_fd is None else "")
        StopSignals(process.stop).install()

        def await_parent() -> None:
            while os.read(parent_fd, 1):
                pass
            process.stop()

        if parent_fd is not None:
            PeriodicTask("parent", await_parent, interval_seconds=None).start()
        try:
            process.run()
        except OSError as error:
            raise CommandError(f"VIEWCOUNTER_PULL_METRICS_BIND: {error}") from error
        finally:
            get_cluster().close()
