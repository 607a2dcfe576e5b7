"""`manage.py run_mover`: carries out moves that were asked for, in the admin for instance, until it is stopped."""

import logging
import time
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, close_old_connections

from viewcounter.config import get_config
from viewcounter.operations.moves.commands import StopFlag
from viewcounter.operations.moves.driving import build_tools, run_next
from viewcounter.operations.moves.errors import MoverStopping

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Run a mover: takes up moves of partitions that nobody is at. Two of it divide the moves. SIGTERM stops it."
    requires_system_checks = ()

    def handle(self, **options: Any) -> None:
        flag = StopFlag()
        flag.install()
        config = get_config()
        tools = build_tools(config, is_stopping=flag.is_set)
        while not flag.is_set():
            try:
                if run_next(tools):
                    continue
            except MoverStopping:
                return
            except DatabaseError as error:
                logger.warning("the control database does not answer: %s", error)
                close_old_connections()
            time.sleep(config.move_poll_seconds)
