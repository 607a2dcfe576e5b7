"""Heartbeats of a process to the service registry: one call when it starts.

    start_heartbeat(kind=ServiceKind.WORKER)

A background thread sends heartbeats until an orderly exit, which removes the entry. A failed heartbeat does not affect
the process: the registry is for people and load balancers, no work depends on it.
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
from configservice.topology.keys import split_public_keys
from runtime.periodic import PeriodicTask
from runtime.transitions import OutageLog

logger = logging.getLogger(__name__)

STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ProcessCondition:
    """Condition of a process as it reports it with each heartbeat."""

    state: ServiceState = ServiceState.SERVING
    detail: str = ""
    epoch: int | None = None


def start_heartbeat(*, kind: ServiceKind, describe: Callable[[], ProcessCondition] = ProcessCondition) -> "Heartbeat":
    """Registers the calling process, not its children. `describe` may block briefly; it must not raise.

    Uses Django's settings TOPOLOGY_CACHE_URL, TOPOLOGY_PUBLIC_KEYS, CLUSTER_ID, SERVICE_ZONE, SERVICE_VERSION,
    SERVICE_HEARTBEAT_SECONDS and SERVICE_FORGET_SECONDS.
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
    """Belongs to the process that created it: a forked child neither sends heartbeats nor removes the entry."""

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
        """Removes the entry from the registry. Idempotent."""
        if os.getpid() != self._service.pid or self._task.is_stopping:
            return
        self._task.stop(timeout_seconds=STOP_SECONDS)
        try:
            remove_service(get_cluster_cache(), self._service.id)
        except (RegistryUnavailable, ClusterUnknown) as error:
            logger.info("the entry in the service registry was not removed, it will be shown as lost: %s", error)

    def _beat(self) -> None:
        try:
            condition = self._describe()
            service = msgspec.structs.replace(
                self._service,
                state=condition.state,
                detail=condition.detail,
                epoch=condition.epoch,
                public_keys=_list_public_keys(),
            )
            put_heartbeat(get_cluster_cache(), service, forget_seconds=self._forget_seconds)
        except (RegistryUnavailable, ClusterUnknown) as error:
            self._outage.report_failure(error)
        else:
            self._outage.report_success()


def _list_public_keys() -> tuple[str, ...] | None:
    """Read as for a verification: what this process would accept now."""
    try:
        return tuple(split_public_keys(settings.TOPOLOGY_PUBLIC_KEYS))
    except ValueError:  # a file that this process could never read
        return None
