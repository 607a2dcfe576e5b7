"""Django's registration of the control data."""

from django.apps import AppConfig


class ConfigServiceAppConfig(AppConfig):
    name = "configservice"
    verbose_name = "cluster"
    default_auto_field = "django.db.models.BigAutoField"
