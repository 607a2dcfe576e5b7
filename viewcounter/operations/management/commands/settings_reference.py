"""`manage.py settings_reference`: print docs/operations/settings.md."""

from typing import Any

from django.core.management.base import BaseCommand

from viewcounter.operations.settings_reference import render_settings_reference


class Command(BaseCommand):
    help = "Print every setting with its default and meaning, as the page docs/operations/settings.md."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(render_settings_reference(), ending="")
