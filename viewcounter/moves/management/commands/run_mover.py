"""`manage.py run_mover`: carries out planned moves, from the admin for example, until it is stopped."""

from typing import Any

from django.core.management.base import CommandError

from commandline.command import Subject
from viewcounter.commands.counting_command import CountingCommand


class Command(CountingCommand):
    subject = Subject.RUN
    help = "Run a mover, which carries out planned moves of partitions. Two movers share the work. SIGTERM stops it."

    def handle(self, **options: Any) -> None:
        from viewcounter.cluster import get_cluster
        from viewcounter.config import get_config
        from viewcounter.moves.commands import StopFlag
        from viewcounter.moves.process import MoverProcess

        flag = StopFlag()
        flag.install()
        try:
            MoverProcess(get_config(), is_stopping=flag.is_set).run()
        except OSError as error:
            raise CommandError(f"VIEWCOUNTER_MOVE_METRICS_BIND: {error}") from error
        finally:
            get_cluster().close()
