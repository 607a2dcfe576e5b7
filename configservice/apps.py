"""Django app of the control tables and their admin."""

from django.apps import AppConfig


class ConfigServiceAppConfig(AppConfig):
    name = "configservice"
    verbose_name = "cluster"
    default_auto_field = "django.db.models.BigAutoField"
