"""`manage.py run_configservice`: run a config service, which monitors instances and, as leader, fails shards over."""

import signal
from types import FrameType
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from commandline.command import Subject
from viewcounter.commands.counting_command import CountingCommand

if TYPE_CHECKING:
    from configservice.topology.signer import TopologySigner
    from viewcounter.config import Config


class Command(CountingCommand):
    subject = Subject.RUN
    help = (
        "Run a config service, which monitors instances and replaces dead primaries. It also carries out requested "
        "failovers and switchovers. Run two or more; one of them leads. SIGTERM stops it after the current step."
    )

    def handle(self, **options: Any) -> None:
        from configservice.registry.heartbeat import start_heartbeat
        from configservice.registry.services import ServiceKind
        from runtime.http.metrics_server import start_process_server
        from viewcounter.config import get_config
        from viewcounter.controlplane.config_service import build_config_service

        config = get_config()
        signer = _build_signer(config)
        service = build_config_service(config)

        def stop(_number: int, _frame: FrameType | None) -> None:
            service.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        bind = config.configservice.metrics_bind
        try:
            server = start_process_server(bind, check_health=service.check_health) if bind else None
        except OSError as error:
            raise CommandError(f"VIEWCOUNTER_CONFIGSERVICE_METRICS_BIND: {error}") from error
        start_heartbeat(kind=ServiceKind.CONFIG_SERVICE, describe=service.describe)
        if signer is not None:
            signer.start()
        service.run()
        if signer is not None:
            signer.close()
        if server is not None:
            server.shutdown()


def _build_signer(config: "Config") -> "TopologySigner | None":
    from configservice.errors import BadSigningKey
    from viewcounter.controlplane.config_service import build_topology_signer

    if config.cluster.topology_public_keys and config.configservice.signing_key_file is None:
        raise CommandError(
            "VIEWCOUNTER_CLUSTER_TOPOLOGY_PUBLIC_KEYS is set and VIEWCOUNTER_CONFIGSERVICE_SIGNING_KEY_FILE is not: no"
            " process would accept the topologies that this config service publishes"
        )
    try:
        return build_topology_signer(config)
    except BadSigningKey as error:
        raise CommandError(f"VIEWCOUNTER_CONFIGSERVICE_SIGNING_KEY_FILE: {error}") from error
