from django.apps import AppConfig
from django.core.checks import Tags, register

from viewcounter.operations.checks import check_password_refs, check_public_keys, check_signing_key
from viewcounter.operations.transport_checks import check_transport


class OperationsConfig(AppConfig):
    name = "viewcounter.operations"
    label = "operations"

    def ready(self) -> None:
        register(check_password_refs)
        register(check_signing_key)
        register(check_public_keys, Tags.security, deploy=True)
        register(Tags.security, deploy=True)(check_transport)
