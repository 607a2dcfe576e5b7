"""The process `manage.py run_mover`: claims free moves and runs them, one after the other."""

import logging
import time
from collections.abc import Callable

from django.db import DatabaseError, close_old_connections

from clusterproxy.errors import NoTopology
from configservice.models import Move
from configservice.moves.states import FINISHED
from configservice.registry.heartbeat import ProcessCondition, start_heartbeat
from configservice.registry.services import ServiceKind, ServiceState
from runtime.http.metrics_server import Health, start_process_server
from runtime.transitions import OutageLog
from viewcounter.config import Config
from viewcounter.moves.errors import MoverStopping
from viewcounter.moves.scheduler import build_tools, run_next

logger = logging.getLogger(__name__)


class MoverProcess:
    """`run` blocks until `is_stopping`; it goes on while the control database does not answer."""

    def __init__(self, config: Config, *, is_stopping: Callable[[], bool]) -> None:
        self._config = config
        self._is_stopping = is_stopping
        self._tools = build_tools(config, is_stopping=is_stopping)
        self._move: Move | None = None  # in progress
        self._trouble = ""
        self._outage = OutageLog(
            logger,
            failed="the control database does not answer, no move is claimed or continued",
            recovered="the control database answers again",
        )

    def run(self) -> None:
        """Raises OSError if the address of the metrics server cannot be bound."""
        bind = self._config.move.metrics_bind
        server = start_process_server(bind, check_health=self.check_health) if bind else None
        heartbeat = start_heartbeat(kind=ServiceKind.MOVER, describe=self.describe)
        try:
            while not self._is_stopping():
                if not self._run_next():
                    self._wait()
        except MoverStopping:
            logger.info("stopping; the unfinished move is left to the next mover")
        finally:
            heartbeat.stop()
            if server is not None:
                server.shutdown()

    def check_health(self) -> Health:
        """Always healthy: a restart of this process would not bring back a server that is down."""
        move = self._move
        body = {"status": "moving" if move is not None else "idle", "trouble": self._trouble}
        return True, body if move is None else body | {"move": move.pk, "state": move.state}

    def describe(self) -> ProcessCondition:
        """For the service registry."""
        try:
            epoch = self._tools.cluster.topology.epoch
        except NoTopology:
            return ProcessCondition(ServiceState.IMPAIRED, detail="no topology received yet")
        if self._trouble:
            return ProcessCondition(ServiceState.IMPAIRED, self._trouble, epoch)
        move = self._move
        return ProcessCondition(detail="" if move is None else f"move {move.pk} is {move.state}: {move}", epoch=epoch)

    def _run_next(self) -> bool:
        """Whether there was a free move."""
        try:
            is_found = run_next(self._tools, on_move=self._set_move)
        except DatabaseError as error:
            self._outage.report_failure(error)
            self._trouble = "the control database does not answer"
            close_old_connections()
            return False
        else:
            self._outage.report_success()
            self._trouble = ""
            return is_found
        finally:
            self._move = None

    def _wait(self) -> None:
        """Until it is time to look again, or the process is told to stop."""
        settings = self._config.move
        look_at = time.monotonic() + settings.look_seconds
        while not self._is_stopping() and time.monotonic() < look_at:
            time.sleep(settings.poll_seconds)

    def _set_move(self, move: Move) -> None:
        self._move = None if move.state in FINISHED else move
