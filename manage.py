#!/usr/bin/env python
"""Entry point of every operator command: `manage.py help` lists them."""

import os
import sys

from django.core.management import execute_from_command_line

COUNTING = {"run_configservice", "run_shardproxy", "run_mover", "move_partitions", "rebalance", "moves"}
"""Commands that run for good, or move partitions: what they count belongs to the metrics of their host."""


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "viewcounter.settings")
    if COUNTING.intersection(sys.argv[1:2]):
        keep_metrics_in_files()
    execute_from_command_line(sys.argv)


def keep_metrics_in_files() -> None:
    """Before Django is set up, which imports metrics: the first import decides where they are kept."""
    from viewcounter.config import get_config  # noqa: PLC0415
    from viewcounter.metric_files import start_process_group  # noqa: PLC0415

    start_process_group(get_config().state_dir / "metrics")


if __name__ == "__main__":
    main()
