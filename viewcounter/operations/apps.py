from django.apps import AppConfig
from django.core.checks import register

from viewcounter.operations.checks import check_password_refs


class OperationsConfig(AppConfig):
    name = "viewcounter.operations"
    label = "operations"

    def ready(self) -> None:
        register(check_password_refs)
