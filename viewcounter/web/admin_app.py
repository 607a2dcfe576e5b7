"""Loads the admin modules only in processes that serve or check its pages.

Django's own configuration imports every `admin.py` in every process. Their imports take a worker, a daemon or a command
longer than everything else that it loads.
"""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.contrib.admin import autodiscover
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core.checks import CheckMessage, Tags, register


class AdminConfig(SimpleAdminConfig):
    """`viewcounter.urls` discovers the modules."""

    default_site = "viewcounter.console.site.ConsoleSite"

    def ready(self) -> None:
        register(check_dependencies, Tags.admin)
        register(check_discovered, Tags.admin)


def check_discovered(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Django's check of every registered admin; it may run before the one of the addresses, which discovers them."""
    autodiscover()
    return list(check_admin_app(app_configs, **options))
