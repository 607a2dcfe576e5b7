from django.apps import AppConfig
from django.core.checks import register

from viewcounter.processing.checks import RETENTION, check_retention


class ProcessingConfig(AppConfig):
    name = "viewcounter.processing"
    label = "processing"

    def ready(self) -> None:
        register(check_retention, RETENTION)
