from django.apps import AppConfig
from django.core.checks import Tags, register

from viewcounter.controlplane.checks import check_password_refs, check_public_keys, check_signing_key
from viewcounter.controlplane.transport_checks import check_transport


class ControlPlaneConfig(AppConfig):
    name = "viewcounter.controlplane"

    def ready(self) -> None:
        register(check_password_refs)
        register(check_signing_key)
        register(check_public_keys, Tags.security, deploy=True)
        register(Tags.security, deploy=True)(check_transport)
