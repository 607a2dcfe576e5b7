from django.apps import AppConfig
from django.core.checks import register

from viewcounter.eventlog.checks import check_event_log
from viewcounter.maintenance.checks import RETENTION, check_retention


class MaintenanceConfig(AppConfig):
    name = "viewcounter.maintenance"
    label = "processing"

    def ready(self) -> None:
        register(check_retention, RETENTION)
        register(check_event_log, deploy=True)
