"""Django's registration of the API keys. Its label is that of the tables, which are older than this package."""

from django.apps import AppConfig


class ApiKeysConfig(AppConfig):
    name = "viewcounter.apikeys"
    label = "gateway"
    verbose_name = "API access"
