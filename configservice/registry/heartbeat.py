"""How a process takes part in the service registry: one call at its start.

    start_heartbeat(kind=ServiceKind.WORKER)

Beats from a thread of its own until the process ends in order, and leaves the registry then. Failing to beat changes
nothing for the process: the registry is for people and load balancers, no work depends on it.
"""

import atexit
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import msgspec
from django.conf import settings

from configservice.errors import ClusterUnknown, RegistryUnavailable
from configservice.registry.services import Service, ServiceKind, ServiceState, put_heartbeat, remove_service
from configservice.topology.cluster_cache import get_cluster_cache
from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog

logger = logging.getLogger(__name__)

STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ProcessCondition:
    """How a process finds itself, asked before each heartbeat."""

    state: ServiceState = ServiceState.SERVING
    detail: str = ""
    epoch: int | None = None


def start_heartbeat(*, kind: ServiceKind, describe: Callable[[], ProcessCondition] = ProcessCondition) -> "Heartbeat":
    """For the process that calls it, not for its children. `describe` may wait a little; it must not raise.

    Where and how often: TOPOLOGY_CACHE_URL, CLUSTER_ID, SERVICE_ZONE, SERVICE_VERSION, SERVICE_HEARTBEAT_SECONDS and
    SERVICE_FORGET_SECONDS of Django's settings.
    """
    service = Service(
        id=uuid4().hex,
        kind=kind,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=settings.SERVICE_VERSION,
        zone=settings.SERVICE_ZONE,
        started_at=datetime.now(UTC),
    )
    heartbeat = Heartbeat(
        service,
        describe=describe,
        interval_seconds=settings.SERVICE_HEARTBEAT_SECONDS,
        forget_seconds=settings.SERVICE_FORGET_SECONDS,
    )
    heartbeat.start()
    atexit.register(heartbeat.stop)
    return heartbeat


class Heartbeat:
    """Belongs to the process that made it: a forked child neither beats nor takes it out of the registry."""

    def __init__(
        self,
        service: Service,
        *,
        describe: Callable[[], ProcessCondition],
        interval_seconds: float,
        forget_seconds: float,
    ) -> None:
        self._service = service
        self._describe = describe
        self._forget_seconds = forget_seconds
        self._outage = OutageLog(
            logger,
            failed="heartbeats do not reach the service registry",
            recovered="heartbeats reach the service registry again",
        )
        self._task = PeriodicTask("heartbeat", self._beat, interval_seconds=interval_seconds)

    def start(self) -> None:
        self._task.start()

    def stop(self) -> None:
        """Leaves the registry. May be called twice."""
        if os.getpid() != self._service.pid or self._task.is_stopping:
            return
        self._task.stop(timeout_seconds=STOP_SECONDS)
        try:
            remove_service(get_cluster_cache(), self._service.id)
        except (RegistryUnavailable, ClusterUnknown) as error:
            logger.info("not taken out of the service registry, it will be shown as lost: %s", error)

    def _beat(self) -> None:
        try:
            condition = self._describe()
            service = msgspec.structs.replace(
                self._service, state=condition.state, detail=condition.detail, epoch=condition.epoch
            )
            put_heartbeat(get_cluster_cache(), service, forget_seconds=self._forget_seconds)
        except (RegistryUnavailable, ClusterUnknown) as error:
            self._outage.report_failure(error)
        else:
            self._outage.report_success()
