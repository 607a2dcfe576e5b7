"""`manage.py down`: stop the local cluster and all of its processes."""

import argparse
from typing import Any

from django.core.management.base import CommandError

from commandline.command import OperatorCommand, Subject


class Command(OperatorCommand):
    subject = Subject.RUN
    help = "Stop the local cluster. Its data are kept unless --purge is given."
    examples = ("bin/down", "bin/down --purge")
    needs_apps = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--purge", action="store_true", help="also delete all data, secrets and logs")

    def handle(self, **options: Any) -> None:
        from devtools.localcluster.control import purge, stop_cluster
        from devtools.localcluster.errors import LocalClusterError
        from devtools.localcluster.state import StateFolder
        from devtools.settings import get_devtools_config

        config = get_devtools_config()
        state = StateFolder(config.state_dir)
        try:
            result = stop_cluster(state, within_seconds=config.local.stop_seconds)
            if options["purge"]:
                purge(state)
        except LocalClusterError as error:
            raise CommandError(f"{type(error).__name__}: {error}") from error
        if result.leftovers:
            self.stdout.write(f"ended processes of an unclean stop: {', '.join(result.leftovers)}")
        self.stdout.write("stopped" if result.was_running else "not running")
        if options["purge"]:
            self.stdout.write(f"removed {state.root}")
