from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """Templates and static files of the pages for people; without tables."""

    name = "viewcounter.console"
