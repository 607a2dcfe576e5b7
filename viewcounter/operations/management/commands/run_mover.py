"""`manage.py run_mover`: carries out moves that were asked for, in the admin for instance, until it is stopped."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.operations.moves.commands import StopFlag
from viewcounter.operations.moves.process import MoverProcess


class Command(BaseCommand):
    help = "Run a mover: takes up moves of partitions that nobody is at. Two of it divide the moves. SIGTERM stops it."
    requires_system_checks = ()

    def handle(self, **options: Any) -> None:
        flag = StopFlag()
        flag.install()
        try:
            MoverProcess(get_config(), is_stopping=flag.is_set).run()
        except OSError as error:
            raise CommandError(f"VIEWCOUNTER_MOVER_METRICS_BIND: {error}") from error
        finally:
            get_cluster().close()
