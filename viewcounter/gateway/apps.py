"""Django's registration of the gateway's control data: the API keys."""

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    name = "viewcounter.gateway"
    verbose_name = "API access"
